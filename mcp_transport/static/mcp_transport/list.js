// Selects sessions on the list, and keeps the list up to date by loading it again.
// A loaded page is parsed by the browser as the first one was; its scripts do not run.
"use strict";

(() => {
  const EVERY_MS = 10_000;
  const STORED = "mcp-transport-list-paused";
  const bar = document.getElementById("refresh");
  const status = bar.querySelector("[role=status]");
  const button = bar.querySelector("button");
  let paused = localStorage.getItem(STORED) === null ? "startsPaused" in bar.dataset : localStorage.getItem(STORED) === "1";
  let timer = null;

  const boxes = () => [...document.querySelectorAll("input.action-select")];
  const across = () => document.querySelector("input[name=select_across]");

  // -- selection --------------------------------------------------------------------------------------------

  function show(name, visible) {
    const place = document.querySelector(`.actions .${name}`);
    if (place) place.hidden = !visible;
  }

  function count() {
    const counter = document.querySelector(".action-counter");
    if (!counter) return;
    const all = boxes();
    const selected = all.filter((box) => box.checked).length;
    const isAll = selected === all.length && selected > 0;
    all.forEach((box) => box.closest("tr").classList.toggle("selected", box.checked));
    document.getElementById("action-toggle").checked = isAll;
    if (across() && !isAll) across().value = "0";
    const isAcross = Boolean(across()) && across().value === "1";
    counter.textContent = counter.dataset.text.replace("%(sel)s", selected).replace("%(cnt)s", all.length);
    counter.hidden = isAcross;
    show("question", isAll && !isAcross);
    show("all", isAcross);
    show("clear", isAcross);
  }

  function select(checked) {
    boxes().forEach((box) => {
      box.checked = checked;
    });
  }

  document.addEventListener("change", (event) => {
    if (event.target.id === "action-toggle") select(event.target.checked);
    if (event.target.matches("#action-toggle, .action-select")) count();
  });

  document.addEventListener("click", (event) => {
    if (event.target.matches(".actions .question")) {
      across().value = "1";
      count();
      document.querySelector(".actions .clear").focus();
    } else if (event.target.matches(".actions .clear")) {
      select(false);
      count();
      document.getElementById("action-toggle").focus();
    }
  });

  // -- updates ----------------------------------------------------------------------------------------------

  function say(state) {
    if (status.dataset.state !== state) status.textContent = bar.dataset[state];
    status.dataset.state = state;
    const label = paused ? button.dataset.resume : button.dataset.pause;
    if (button.textContent !== label) button.textContent = label;
  }

  function isInUse() {
    const form = document.getElementById("changelist-form");
    return boxes().some((box) => box.checked) || form.contains(document.activeElement);
  }

  function take(page) {
    const current = document.getElementById("changelist-form");
    const next = page.getElementById("changelist-form");
    const left = current.querySelector(".results")?.scrollLeft;
    current.replaceWith(document.adoptNode(next));
    const region = next.querySelector(".results");
    if (region && left) region.scrollLeft = left;
    document.querySelectorAll("#changelist-filter details").forEach((filter) => {
      const title = CSS.escape(filter.dataset.filterTitle);
      const values = page.querySelector(`#changelist-filter details[data-filter-title="${title}"] ul`);
      const list = filter.querySelector("ul");
      if (!values || list.contains(document.activeElement)) return;
      const top = list.scrollTop;
      list.replaceWith(document.adoptNode(values));
      values.scrollTop = top;
    });
    count();
  }

  async function refresh() {
    if (document.hidden || paused) return;
    if (isInUse()) {
      say("waiting");
      return;
    }
    try {
      const response = await fetch(window.location.href, { redirect: "manual", headers: { Accept: "text/html" } });
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      if (!response.ok || !page.getElementById("changelist-form")) throw new Error("no list");
      if (paused) return;
      if (!isInUse()) take(page);
      say("live");
    } catch {
      say("lost");
    }
  }

  function later() {
    clearTimeout(timer);
    if (!paused && !document.hidden) timer = setTimeout(() => refresh().finally(later), EVERY_MS);
  }

  button.addEventListener("click", () => {
    paused = !paused;
    localStorage.setItem(STORED, paused ? "1" : "0");
    say(paused ? "paused" : "live");
    later();
  });
  document.addEventListener("visibilitychange", later);

  window.addEventListener("pageshow", count); // the browser may have kept a selection
  say(paused ? "paused" : "live");
  bar.hidden = false;
  count();
  later();
})();
