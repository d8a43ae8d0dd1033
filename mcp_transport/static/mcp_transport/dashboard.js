// Draws the charts and tables of the dashboard; live.js dispatches their data.
// Updates contain text from clients, so they are only ever assigned to textContent; links are the server's.
"use strict";

(() => {
  const HEIGHT = 150;
  const board = document.getElementById("charts");
  const SECONDS = Number(board.dataset.seconds);
  const places = [...document.querySelectorAll("[data-chart]")];
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  let columns = [[], [], [], [], []];
  let charts = [];

  // -- charts -----------------------------------------------------------------------------------------------

  function color(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim() || "gray";
  }

  function axis(more) {
    const line = { stroke: color("--hairline-color"), width: 1 };
    return { stroke: color("--body-quiet-color"), grid: line, ticks: line, ...more };
  }

  // An empty chart has an axis that starts at zero, too.
  function range(self, low, high) {
    return [0, Math.max(high || 0, 1) * 1.1];
  }

  function ago(seconds) {
    if (seconds >= -1) return board.dataset.now;
    if (SECONDS > 2 * 3600) return board.dataset.hours.replace("%s", (Math.round(-seconds / 360) / 10).toLocaleString());
    const minutes = Math.round(-seconds / 60);
    if (SECONDS > 600) return board.dataset.minutes.replace("%s", minutes);
    return board.dataset.secondsAgo.replace("%s", Math.round(-seconds));
  }

  // Few enough for a narrow chart.
  function ticks() {
    return SECONDS > 600 ? [-0.75, -0.5, -0.25].map((share) => share * SECONDS) : [-240, -120];
  }

  function tick(seconds) {
    return SECONDS > 2 * 3600 ? `${seconds / 3600} h` : `${seconds / 60} min`;
  }

  // The value under the pointer, in all charts at once.
  function point(place) {
    const value = place.parentElement.querySelector(".mcp-value");
    return (chart) => {
      const at = chart.cursor.idx;
      const shown = at === null || at === undefined ? null : chart.data[1][at];
      if (shown === null || shown === undefined) {
        value.textContent = "";
        return;
      }
      const number = shown.toLocaleString(undefined, { maximumFractionDigits: 2 });
      value.textContent = `${number} ${value.dataset.unit}, ${ago(chart.data[0][at])}`;
    };
  }

  function draw(place) {
    const stroke = color(place.dataset.color);
    const options = {
      width: place.clientWidth,
      height: HEIGHT,
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, sync: { key: "mcp-transport" } },
      scales: { x: { time: false, range: [-SECONDS, 0] }, y: { range } },
      axes: [
        axis({ splits: ticks, values: (self, splits) => splits.map(tick) }),
        axis({ size: 55 }),
      ],
      series: [{}, { stroke, width: 2, points: { show: (self) => self.data[0].length < 3 } }],
      hooks: { setCursor: [point(place)] },
    };
    return new uPlot(options, [columns[0], columns[Number(place.dataset.chart)]], place);
  }

  function redraw() {
    charts.forEach((chart) => chart.destroy());
    charts = places.map(draw);
  }

  function resize() {
    charts.forEach((chart, at) => chart.setSize({ width: places[at].clientWidth, height: HEIGHT }));
  }

  // -- tables -----------------------------------------------------------------------------------------------

  function setText(place, text) {
    if (place.textContent !== text) place.textContent = text;
  }

  function setAttribute(place, name, value) {
    if (!value) place.removeAttribute(name);
    else if (place.getAttribute(name) !== value) place.setAttribute(name, value);
  }

  function fill(place, cell) {
    const tag = cell.link ? "a" : cell.badge ? "span" : "bdi";
    let inner = place.firstElementChild;
    if (!inner || inner.localName !== tag) {
      inner = document.createElement(tag);
      if (tag === "a") inner.append(document.createElement("bdi"));
      place.replaceChildren(inner);
    }
    if (tag === "a") {
      setAttribute(inner, "href", cell.link);
      setAttribute(inner, "class", cell.action && "button");
      setAttribute(inner, "aria-label", cell.action);
      inner = inner.firstElementChild;
    }
    if (tag === "span") setAttribute(inner, "class", `mcp-badge ${cell.badge}`);
    setAttribute(place, "class", cell.number && "mcp-number");
    setText(inner, cell.text);
  }

  function fillRow(row, cells) {
    cells.forEach((cell, at) => {
      let place = row.cells[at];
      if (!place) {
        place = document.createElement(at ? "td" : "th");
        if (!at) place.scope = "row";
        row.append(place);
      }
      fill(place, cell);
    });
  }

  // A row keeps its focus when the rows around it change.
  function showGrid(name, rows) {
    const body = document.querySelector(`tbody[data-grid="${CSS.escape(name)}"]`);
    if (!body) return;
    const nameOf = (texts) => JSON.stringify(texts.slice(0, 2));
    const current = new Map([...body.rows].map((row) => [nameOf([...row.cells].map((place) => place.textContent)), row]));
    rows.forEach((cells, at) => {
      const key = nameOf(cells.map((cell) => cell.text));
      const row = current.get(key) || document.createElement("tr");
      current.delete(key);
      fillRow(row, cells);
      if (body.rows[at] !== row) body.insertBefore(row, body.rows[at] || null);
    });
    while (body.rows.length > rows.length) body.lastElementChild.remove();
    const region = body.closest(".results");
    region.hidden = rows.length === 0;
    region.nextElementSibling.hidden = rows.length !== 0;
  }

  document.addEventListener("mcp:update", (event) => {
    const update = event.detail;
    columns = columns.map((_, at) => update.points.map((item) => item[at]));
    charts.forEach((chart, at) => chart.setData([columns[0], columns[at + 1]]));
    for (const [name, rows] of Object.entries(update.grids)) showGrid(name, rows);
  });

  // -- pausing ----------------------------------------------------------------------------------------------

  const button = document.getElementById("pause");
  let paused = false;
  button.hidden = false;
  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? button.dataset.resume : button.dataset.pause;
    document.dispatchEvent(new CustomEvent("mcp:pause", { detail: paused ? button.dataset.paused : "" }));
  });

  // The theme of the admin can change while the page is open; django-unfold uses a class.
  new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme", "class"] });
  dark.addEventListener("change", redraw);
  new ResizeObserver(resize).observe(board);
  redraw();
})();
