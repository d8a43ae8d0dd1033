// Keeps a page of the admin up to date by WebSocket, or else by polling the same URL.
// Updates contain text from clients, so they are only ever assigned to textContent or value.
"use strict";

(() => {
  const POLL_MS = 2000;
  const POLLS_BETWEEN_SOCKETS = 30;
  const MAX_LINES = 200;

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

  function logOf(stream) {
    const logs = document.getElementById("logs");
    const existing = [...logs.children].find((section) => section.dataset.stream === stream);
    if (existing) return existing.querySelector("ol");
    const section = document.createElement("section");
    section.dataset.stream = stream;
    const title = document.createElement("h3");
    title.append(document.createElement("bdi"));
    title.firstChild.textContent = stream === "g" ? logs.dataset.get : stream;
    const log = document.createElement("ol");
    log.setAttribute("role", "log");
    log.setAttribute("aria-live", "polite");
    log.setAttribute("aria-label", `${logs.dataset.label} ${stream}`);
    log.tabIndex = 0;
    section.append(title, log);
    logs.append(section);
    return log;
  }

  function showMessage(message) {
    const log = logOf(message.stream);
    const last = log.lastElementChild;
    if (last && Number(last.dataset.number) >= message.number) return; // already shown
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 20;
    const line = document.createElement("li");
    line.className = "new";
    line.dataset.number = message.number;
    for (const text of message.texts) {
      const part = document.createElement("bdi");
      part.textContent = text;
      line.append(part, " ");
    }
    if (message.payload !== undefined) {
      const payload = document.createElement("pre");
      payload.textContent = message.payload;
      line.append(payload);
    }
    log.append(line);
    while (log.children.length > MAX_LINES) log.firstElementChild.remove();
    if (atEnd) log.scrollTop = log.scrollHeight;
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
    (update.messages || []).forEach(showMessage);
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
  document.querySelectorAll("#logs ol").forEach((log) => {
    log.scrollTop = log.scrollHeight;
  });
  follow();
})();
