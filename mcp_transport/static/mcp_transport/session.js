// The timeline, the state and the relative times of a session's page; `live.js` gets the updates.
// Updates contain text from clients, so they are only ever assigned to textContent.
"use strict";

(() => {
  const MAX_LINES = 300;
  const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

  const list = document.getElementById("timeline");
  const language = document.getElementById("live").dataset.language;
  const format = new Intl.RelativeTimeFormat(language, { numeric: "always", style: "short" });
  const shown = new Map(); // what each line was built from
  let requests = new Set([...list.children].filter((line) => line.dataset.direction !== "out").map(keyOf));

  function keyOf(line) {
    return line.dataset.key;
  }

  // -- lines ----------------------------------------------------------------------------------------------

  function add(parent, name, text, className) {
    const element = document.createElement(name);
    if (className) element.className = className;
    element.textContent = text;
    parent.append(element);
    return element;
  }

  function build(item) {
    const line = document.createElement("li");
    for (const name of ["key", "order", "state", "direction"]) line.dataset[name] = item[name];
    line.dataset.at = item.at.toFixed(3);
    add(line, "span", list.dataset[item.direction] || "", "direction");
    item.texts.forEach((text, at) => {
      add(line, "bdi", text);
      line.append(" ");
      if (at === 0) add(line, "span", item.label, "badge");
    });
    const times = add(line, "span", "", "times");
    add(times, "time", item.time).dateTime = item.iso;
    times.append(" ");
    add(times, "span", "", "ago");
    add(line, "p", item.why, "why");
    if (item.payload !== undefined) add(line, "pre", item.payload);
    return line;
  }

  function isAfter(line, other) {
    const [at, otherAt] = [Number(line.dataset.at), Number(other.dataset.at)];
    return at === otherAt ? Number(line.dataset.order) > Number(other.dataset.order) : at > otherAt;
  }

  function place(line) {
    const next = [...list.children].find((other) => other !== line && !isAfter(other, line));
    list.insertBefore(line, next || null);
  }

  function show(item) {
    const source = JSON.stringify(item);
    if (shown.get(item.key) === source) return;
    const current = [...list.children].find((line) => line.dataset.key === item.key);
    const line = build(item);
    if (!current || (shown.has(item.key) && current.dataset.state !== item.state)) line.classList.add("new");
    if (current) current.remove();
    place(line);
    shown.set(item.key, source);
  }

  function showTimeline(update) {
    const keys = new Set(update.timeline.map((item) => item.key));
    for (const line of [...list.children]) {
      if (requests.has(line.dataset.key) && !keys.has(line.dataset.key)) line.remove(); // the history has dropped it
    }
    requests = keys;
    [...update.timeline, ...update.messages].forEach(show);
    while (list.children.length > MAX_LINES) {
      shown.delete(list.lastElementChild.dataset.key);
      list.lastElementChild.remove();
    }
  }

  // -- times ----------------------------------------------------------------------------------------------

  function relative(iso) {
    const seconds = Math.round((Date.parse(iso) - Date.now()) / 1000);
    const [unit, size] = UNITS.find(([, length]) => Math.abs(seconds) >= length) || UNITS[3];
    return format.format(Math.trunc(seconds / size), unit);
  }

  function showTimes() {
    for (const line of document.querySelectorAll(".times")) {
      const [time, ago] = [line.firstElementChild, line.lastElementChild];
      const text = time.dateTime ? `(${relative(time.dateTime)})` : "";
      if (ago.textContent !== text) ago.textContent = text;
    }
    for (const ago of document.querySelectorAll("td > .ago")) {
      const text = ago.dataset.since ? `(${relative(ago.dataset.since)})` : "";
      if (ago.textContent !== text) ago.textContent = text;
    }
  }

  function showMoments(moments) {
    for (const row of document.querySelectorAll('tbody[data-rows="details"] tr')) {
      row.cells[1].querySelector(".ago").dataset.since = moments[row.cells[0].textContent] || "";
    }
  }

  // ---------------------------------------------------------------------------------------------------------

  document.addEventListener("mcp:update", (event) => {
    const update = event.detail;
    if (!update.timeline) return;
    const state = document.getElementById("state");
    state.dataset.state = update.state.value;
    if (state.textContent !== update.state.label) state.textContent = update.state.label;
    showTimeline(update);
    showMoments(update.moments);
    showTimes();
  });
  setInterval(() => {
    if (!document.hidden) showTimes();
  }, 1000);
  showTimes();
})();
