// Draws the charts of the dashboard; live.js dispatches their data.
"use strict";

(() => {
  const HEIGHT = 150;
  const MINUTES = 5;
  const places = [...document.querySelectorAll("[data-chart]")];
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  let columns = [[], [], [], [], []];
  let charts = [];

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

  function draw(place) {
    const stroke = color(place.dataset.color);
    const options = {
      width: place.clientWidth,
      height: HEIGHT,
      legend: { show: false },
      cursor: { show: false },
      scales: { x: { time: false, range: [-60 * MINUTES, 0] }, y: { range } },
      axes: [
        axis({ splits: () => [-240, -180, -120, -60], values: (self, splits) => splits.map((at) => `${at / 60} min`) }),
        axis({ size: 55 }),
      ],
      series: [{}, { stroke, width: 2, points: { show: false } }],
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

  document.addEventListener("mcp:update", (event) => {
    columns = columns.map((_, at) => event.detail.points.map((point) => point[at]));
    charts.forEach((chart, at) => chart.setData([columns[0], columns[at + 1]]));
  });
  // The theme of the admin can change while the page is open; django-unfold uses a class.
  new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme", "class"] });
  dark.addEventListener("change", redraw);
  new ResizeObserver(resize).observe(document.getElementById("charts"));
  redraw();
})();
