// Keeps a page of the admin up to date by WebSocket, or else by polling the same URL.
// Updates contain text from clients, so they are only ever assigned to textContent or value.
"use strict";

(() => {
  const POLL_MS = 2000;
  const POLLS_BETWEEN_SOCKETS = 30;

  const status = document.getElementById("live");
  const options = status.dataset;
  let cursor = options.cursor || "";
  let over = false;
  let socket = null;
  let timer = null;
  let polls = 0;
  let paused = "";

  function address(protocol) {
    const url = new URL(options.address, window.location.href);
    if (protocol) url.protocol = protocol;
    url.searchParams.set("language", options.language);
    if (options.payloads) url.searchParams.set("payloads", "1");
    return url.href;
  }

  function say(state, detail) {
    const text = detail ? `${options[state]}: ${detail}` : options[state];
    if (status.textContent !== text) status.textContent = text;
    status.dataset.state = state;
  }

  // -- rendering ----------------------------------------------------------------------------------------

  function setText(place, text) {
    if (place.textContent !== text) place.textContent = text;
  }

  function cell(kind, text) {
    const place = document.createElement(kind);
    if (kind === "th") place.scope = "row";
    place.append(document.createElement("bdi"));
    place.firstChild.textContent = text;
    return place;
  }

  function newRow(texts, button) {
    const row = document.createElement("tr");
    texts.forEach((text, at) => row.append(cell(at ? "td" : "th", text)));
    if (button) {
      const place = document.createElement("td");
      const copy = button.content.cloneNode(true);
      const control = copy.querySelector("button");
      control.value = texts[0];
      control.setAttribute("aria-label", control.getAttribute("aria-label").replace("…", () => texts[0]));
      place.append(copy);
      row.firstChild.after(place);
    }
    return row;
  }

  // A row with a button keeps its request and the focus when the rows around it change.
  function showCalls(body, rows, button) {
    const current = new Map([...body.rows].map((row) => [row.querySelector("button").value, row]));
    rows.forEach((texts, at) => {
      const row = current.get(texts[0]) || newRow(texts, button);
      current.delete(texts[0]);
      const places = [...row.querySelectorAll("bdi")];
      texts.forEach((text, column) => setText(places[column], text));
      if (body.rows[at] !== row) body.insertBefore(row, body.rows[at] || null);
    });
    current.forEach((row) => row.remove());
  }

  function showRows(body, rows) {
    rows.forEach((texts, at) => {
      const row = body.rows[at];
      if (!row || row.cells.length !== texts.length) {
        if (row) row.remove();
        body.insertBefore(newRow(texts), body.rows[at] || null);
      } else {
        texts.forEach((text, column) => setText(row.cells[column].firstChild, text));
      }
    });
    while (body.rows.length > rows.length) body.lastElementChild.remove();
  }

  function showTable(name, rows) {
    const body = document.querySelector(`tbody[data-rows="${CSS.escape(name)}"]`);
    if (!body) return;
    const button = body.dataset.button && document.getElementById(body.dataset.button);
    // Cells are addressed by index, so whitespace in the server's HTML does not matter.
    if (button) showCalls(body, rows, button);
    else showRows(body, rows);
    const region = body.closest(".results");
    region.hidden = rows.length === 0;
    region.nextElementSibling.hidden = rows.length !== 0;
  }

  function show(update) {
    if (update.over) {
      over = true;
      say("over");
      return;
    }
    if (update.error) return;
    cursor = update.cursor || cursor;
    for (const [name, rows] of Object.entries(update.tables)) showTable(name, rows);
    document.dispatchEvent(new CustomEvent("mcp:update", { detail: update }));
  }

  function receive(update, state) {
    if (paused) return;
    say(update.error ? "lost" : state, update.error);
    show(update);
  }

  // -- connection -----------------------------------------------------------------------------------------

  function later(work, delay) {
    clearTimeout(timer);
    timer = over || paused || document.hidden ? null : setTimeout(work, delay);
  }

  async function poll() {
    try {
      // The cursor is not part of the URL, which servers and proxies log.
      const headers = { Accept: "application/json", "X-Cursor": cursor };
      const response = await fetch(address(), { redirect: "manual", headers });
      receive(await response.json(), "polling");
    } catch {
      say("lost");
    }
    polls += 1;
    later(polls % POLLS_BETWEEN_SOCKETS ? poll : open, POLL_MS);
  }

  // The server closes a socket after a minute, and the next one is opened at once. If it cannot be opened, because
  // the site has no WebSockets or the user lost the permission, the page polls.
  function open() {
    let opened = false;
    const current = new WebSocket(address(window.location.protocol === "https:" ? "wss:" : "ws:"));
    socket = current;
    current.onopen = () => {
      opened = true;
      if (socket === current) current.send(JSON.stringify({ cursor }));
      else current.close(); // the page was hidden meanwhile
    };
    current.onmessage = (event) => {
      if (socket === current) receive(JSON.parse(event.data), "live");
    };
    current.onclose = (event) => {
      if (socket !== current) return;
      socket = null;
      if (over) return;
      if (event.code !== 1000) say("lost");
      if (opened) later(open, event.code === 1000 ? 0 : POLL_MS);
      else later(poll, 0);
    };
  }

  function pause() {
    clearTimeout(timer);
    const current = socket;
    socket = null;
    if (current && current.readyState !== WebSocket.CONNECTING) current.close();
  }

  function follow() {
    pause();
    if (!document.hidden && !over && !paused) open();
  }

  // A page with a button that pauses it dispatches this, with what to say.
  document.addEventListener("mcp:pause", (event) => {
    paused = event.detail;
    status.dataset.state = "paused";
    status.textContent = paused;
    follow();
  });

  document.addEventListener("visibilitychange", follow);
  window.addEventListener("pagehide", pause);
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) follow();
  });
  follow();
})();
