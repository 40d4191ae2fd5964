"use strict";
(() => {
  const PAGE = 100; // rows in the document at once
  const NAME = 56; // characters of a file name on a card
  const CELLS = 12; // columns of a row that are shown before all are asked for
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("rows").textContent);
  const contents = JSON.parse(byId("contents").textContent);
  const wide = Boolean(contents) && contents.kind !== "picture"; // a card is a row of its own
  const total = data.keys.length;
  const signals = Object.keys(data.signals);
  const storageKey = `noisylab-issues-${data.digest}`;
  const list = byId(contents ? "grid" : "body");
  const template = byId(contents ? "card" : "line");
  const filters = { given: byId("given"), suggested: byId("suggested"), sort: byId("sort"), search: byId("search"),
    onlyIssues: byId("only-issues"), onlyAccepted: byId("only-accepted") };

  const label = data.suggested.slice(); // class that each row would get
  let accepted = new Map(); // row -> class
  let before = null; // `accepted` before the last change of many rows
  let shown = []; // rows that pass the filters, sorted
  let page = 0;
  let current = 0; // place in `shown` that the keyboard is at
  let kept = true; // whether the browser remembers `accepted`

  const count = (number) => number.toLocaleString("en-US");
  const rows = (number) => `${count(number)} ${number === 1 ? "row" : "rows"}`;

  // ---- what is accepted, and where it is kept

  function load() {
    try {
      const saved = JSON.parse(localStorage.getItem(storageKey) || "{}");
      for (const [key, value] of Object.entries(saved)) {
        const row = Number(key);
        if (Number.isInteger(value) && value in data.classes && row in data.given && value !== data.given[row]) {
          accepted.set(row, value);
          label[row] = value;
        }
      }
      save();
    } catch {
      try { // what was kept is unreadable, or nothing can be kept
        localStorage.removeItem(storageKey);
      } catch {
        kept = false;
      }
    }
  }

  function save() {
    try {
      if (accepted.size) localStorage.setItem(storageKey, JSON.stringify(Object.fromEntries(accepted)));
      else localStorage.removeItem(storageKey);
      kept = true;
    } catch {
      kept = false;
    }
  }

  function accept(row, wanted) {
    if (wanted && label[row] !== data.given[row]) accepted.set(row, label[row]);
    else accepted.delete(row);
  }

  function changeMany(change) {
    const old = new Map(accepted);
    change();
    changed(old);
  }

  function changed(old = null) {
    before = old; // one fix by hand, and there is no way back past it
    save();
    for (const item of list.children) refresh(item);
    tell();
  }

  // ---- filters and pages

  function select() {
    const given = filters.given.value, suggested = filters.suggested.value, text = filters.search.value.trim().toLowerCase();
    shown = [];
    for (let row = 0; row < total; row++) {
      if (filters.onlyIssues.checked && !data.issue[row]) continue;
      if (filters.onlyAccepted.checked && !accepted.has(row)) continue;
      if (given !== "" && data.given[row] !== Number(given)) continue;
      if (suggested !== "" && data.suggested[row] !== Number(suggested)) continue;
      if (text && !data.keys[row].toLowerCase().includes(text) && !within(row, text)) continue;
      shown.push(row);
    }
    const [column, way] = { "score-down": [data.score, -1], "score-up": [data.score, 1], given: [data.given, 1],
      "confidence-down": [data.confidence, -1], "confidence-up": [data.confidence, 1] }[filters.sort.value];
    shown.sort((a, b) => way * (column[a] - column[b]) || a - b);
    page = current = 0;
    draw();
  }

  function within(row, text) {
    const found = contents && contents.rows[row];
    if (found === undefined || found === null || !["text", "cells"].includes(contents.kind)) return false;
    return String(typeof found === "string" ? found : contents.kind === "text" ? found[0] : found.join("\n")).toLowerCase().includes(text);
  }

  function draw() {
    list.replaceChildren(...shown.slice(page * PAGE, (page + 1) * PAGE).map(build));
    for (const box of list.querySelectorAll(".content.text")) fold(box);
    mark();
    tell();
  }

  function tell() {
    const last = Math.min(shown.length, (page + 1) * PAGE);
    const where = shown.length ? `${count(page * PAGE + 1)}–${count(last)} of ${count(shown.length)}` : "0 of 0";
    for (const node of document.querySelectorAll(".where")) node.textContent = where;
    for (const node of document.querySelectorAll("[data-step]")) {
      const next = page + Number(node.dataset.step);
      node.disabled = next < 0 || next * PAGE >= shown.length;
    }
    for (const node of document.querySelectorAll(".pager")) node.hidden = shown.length <= PAGE;
    byId("nothing").hidden = shown.length > 0;
    byId("lines").hidden = Boolean(contents) || !shown.length;
    byId("grid").hidden = !contents || !shown.length;
    byId("count").textContent = `${rows(shown.length)} shown, ${count(accepted.size)} accepted`;
    byId("accept-all").textContent = `Accept all ${count(shown.length)} shown`;
    byId("accept-all").disabled = !shown.length;
    byId("clear").disabled = byId("download").disabled = !accepted.size;
    byId("undo").hidden = !before;
    byId("kept").textContent = kept
      ? "What is accepted is kept in this browser."
      : "This browser keeps nothing for this page: download before you close it.";
  }

  function turn(step) {
    page += step;
    current = page * PAGE;
    draw();
    byId("list-heading").scrollIntoView();
  }

  // ---- one row

  function option(value, text) {
    const node = new Option(text, value);
    node.title = text;
    return node;
  }

  function put(item, selector, text) {
    const node = item.querySelector(selector);
    node.textContent = node.title = text;
  }

  // the end of a long path tells one file from another
  const ending = (text) => (text.length > NAME ? `…${text.slice(1 - NAME)}` : text);

  function build(row) {
    const item = template.content.firstElementChild.cloneNode(true);
    item.dataset.row = row;
    item.tabIndex = -1;
    put(item, ".name", data.keys[row]);
    if (contents) item.querySelector(".name").textContent = wide ? `${data.key === "index" ? "row" : data.key} ${data.keys[row]}` : ending(data.keys[row]);
    put(item, ".given", data.classes[data.given[row]]);
    put(item, ".suggested", data.classes[data.suggested[row]]);
    item.querySelector(".score").textContent = data.score[row].toFixed(3);
    item.querySelector(".confidence").textContent = data.confidence[row].toFixed(3);
    item.classList.toggle("settled", data.given[row] === data.suggested[row]);
    const issue = item.querySelector(".issue");
    if (contents) {
      item.querySelector(".bar").style.setProperty("--v", data.score[row]);
      issue.textContent = data.issue[row] ? "" : "no issue";
      show(item.querySelector(".content"), row);
    } else {
      issue.textContent = data.issue[row] ? "yes" : "no";
      for (const name of signals) {
        const cell = item.insertCell();
        cell.className = "number";
        const value = data.signals[name][row];
        cell.textContent = value === null ? "" : value.toFixed(3);
      }
    }
    item.querySelector(".label").setAttribute("aria-label", `new label of ${data.keys[row]}`);
    refresh(item);
    return item;
  }

  // ---- what there is to see of a row

  function element(name, className, text) {
    const node = document.createElement(name);
    node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  function moreButton(closed) {
    const node = element("button", "small more", closed);
    node.type = "button";
    node.dataset.closed = closed;
    node.setAttribute("aria-expanded", "false");
    return node;
  }

  const makers = {
    picture(box, source) {
      const image = new Image();
      image.alt = "";
      image.loading = "lazy";
      image.decoding = "async";
      image.className = source.startsWith("data:image/png") ? "crisp" : "";
      image.src = source;
      box.append(image);
    },
    text(box, found) {
      const [text, letters] = typeof found === "string" ? [found, 0] : found;
      const body = element("p", text.trim() ? "body" : "body empty", text.trim() ? text : "(empty text)");
      body.dir = "auto"; // each text by its own letters
      box.append(body);
      if (letters) box.append(element("p", "cut", `The first ${count([...text].length)} of ${count(letters)} characters; the rest is not in this page.`));
      box.append(moreButton("more"));
    },
    cells(box, cells) {
      const table = element("dl", "columns");
      cells.forEach((value, column) => {
        const pair = element("div", column < CELLS ? "" : "rest");
        const name = element("dt", "", contents.names[column]), cell = element("dd", value ? "" : "empty", value || "empty");
        name.title = contents.names[column];
        cell.dir = "auto";
        cell.title = value;
        pair.append(name, cell);
        table.append(pair);
      });
      box.append(table);
      if (cells.length > CELLS) box.append(moreButton(`all ${count(cells.length)} columns`));
    },
    sound(box, source) {
      const player = document.createElement("audio");
      player.controls = true;
      player.preload = "none";
      player.src = source;
      box.append(player);
    },
  };

  function show(box, row) {
    const found = contents.rows[row];
    box.classList.add(contents.kind);
    if (found === undefined) {
      box.classList.add("none");
      box.textContent = contents.missing;
    } else makers[contents.kind](box, found);
  }

  // a text that fits needs no button
  function fold(box) {
    const body = box.querySelector(".body"), more = box.querySelector(".more"), cut = box.querySelector(".cut");
    if (more) more.hidden = !cut && body.scrollHeight <= body.clientHeight + 2;
  }

  function unfold(item) {
    const box = item.querySelector(".content"), more = item.querySelector(".more");
    if (!more || more.hidden) return;
    const open = box.classList.toggle("open");
    more.textContent = open ? "less" : more.dataset.closed;
    more.setAttribute("aria-expanded", String(open));
  }

  function refresh(item) {
    const row = Number(item.dataset.row), name = data.classes[label[row]], taken = accepted.has(row);
    const box = item.querySelector(".accept"), choice = item.querySelector(".label");
    item.classList.toggle("accepted", taken);
    box.checked = taken;
    box.disabled = label[row] === data.given[row]; // nothing would change
    box.setAttribute("aria-label", `accept ${name} for ${data.keys[row]}`);
    if (choice.options.length <= 1) choice.replaceChildren(option(label[row], name));
    choice.value = label[row];
    choice.title = name;
    item.setAttribute(
      "aria-label",
      `${data.keys[row]}: given ${data.classes[data.given[row]]}, suggested ${data.classes[data.suggested[row]]}, ` +
        `score ${data.score[row].toFixed(3)}${taken ? `, accepted as ${name}` : ""}`,
    );
  }

  // With many classes the lists of a hundred rows would be most of the document: each is filled when it is reached for.
  function fill(event) {
    const choice = event.target;
    if (!choice.matches?.("select.label") || choice.options.length > 1) return;
    const value = choice.value;
    choice.replaceChildren(...data.classes.map((name, number) => option(number, name)));
    choice.value = value;
  }

  // ---- keyboard

  const itemAt = (place) => list.children[place - page * PAGE];

  function mark() {
    for (const item of list.children) item.tabIndex = -1;
    const item = itemAt(current);
    if (item) item.tabIndex = 0;
  }

  function go(place) {
    if (place < 0 || place >= shown.length) return;
    current = place;
    if (Math.floor(place / PAGE) !== page) {
      page = Math.floor(place / PAGE);
      draw();
    }
    mark();
    itemAt(place).focus({ preventScroll: true });
    itemAt(place).scrollIntoView({ block: "nearest" });
  }

  function across() {
    const items = [...list.children];
    const next = items.findIndex((item) => item.offsetTop > items[0].offsetTop);
    return next < 0 ? items.length : next;
  }

  function pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.target, item = target.closest(".item");
    if (target.matches("select, input:not([type=checkbox])")) {
      if (event.key === "Escape") go(current);
      return;
    }
    const actions = {
      "/": () => filters.search.focus(),
      j: () => go(item ? current + 1 : current),
      k: () => go(item ? current - 1 : current),
    };
    if (item) {
      const row = Number(item.dataset.row), columns = contents ? across() : 1;
      const toggle = () => {
        accept(row, !accepted.has(row));
        changed();
      };
      Object.assign(actions, {
        ArrowRight: () => go(current + 1),
        ArrowLeft: () => go(current - 1),
        ArrowDown: () => go(Math.min(current + columns, Math.max(current, shown.length - 1))),
        ArrowUp: () => go(current - columns),
        a: toggle,
        c: () => item.querySelector(".label").focus(),
        m: () => unfold(item),
        Escape: () => go(current),
      });
      if (target === item) actions[" "] = toggle; // a check box does it by itself
    }
    if (!Object.hasOwn(actions, event.key)) return;
    event.preventDefault();
    actions[event.key]();
  }

  // ---- download

  const cell = (text) => (/[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

  function download() {
    const taken = [...accepted.keys()].sort((a, b) => a - b);
    const lines = taken.map((row) => [data.keys[row], data.classes[accepted.get(row)], data.classes[data.given[row]]]);
    const text = [[data.key, "label", "given"], ...lines].map((line) => line.map(cell).join(",") + "\r\n").join("");
    const address = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
    const link = document.createElement("a");
    link.href = address;
    link.download = "accepted.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
  }

  // ---- start

  function classOptions(node, column) {
    const counts = new Map();
    for (const number of column) counts.set(number, (counts.get(number) || 0) + 1);
    const found = [...counts.keys()].sort((a, b) => a - b);
    node.append(...found.map((number) => option(number, `${data.classes[number]} (${count(counts.get(number))})`)));
  }

  function reset() {
    for (const name of ["given", "suggested", "search"]) filters[name].value = "";
    filters.onlyAccepted.checked = false;
    filters.onlyIssues.checked = data.issue.includes(1);
    filters.sort.value = "score-down";
    select();
  }

  function heading(name, number) {
    const node = document.createElement("th");
    node.scope = "col";
    node.textContent = name;
    if (number) node.className = "number";
    return node;
  }

  const searched = { file: "file name", id: "id", index: "row number" }[data.key];
  const content = { text: " or text", cells: " or cells" }[contents?.kind] || "";
  byId("search-what").textContent = `Search ${searched}${content}`;
  byId("more-key").hidden = !["text", "cells"].includes(contents?.kind);
  if (wide) list.classList.add("wide");
  byId("head").append(
    ...["new label", data.key, "given", "suggested"].map((name) => heading(name, false)),
    heading("score", true), heading("confidence", true), heading("issue", false),
    ...signals.map((name) => heading(name.replaceAll("_", " "), true)),
  );
  classOptions(filters.given, data.given);
  classOptions(filters.suggested, data.suggested);
  load();
  reset();

  for (const filter of Object.values(filters)) filter.addEventListener(filter === filters.search ? "input" : "change", select);
  for (const node of document.querySelectorAll("[data-step]")) node.addEventListener("click", () => turn(Number(node.dataset.step)));
  for (const node of document.querySelectorAll("button[data-given]")) {
    node.addEventListener("click", () => {
      filters.given.value = node.dataset.given;
      filters.suggested.value = node.dataset.suggested;
      select();
      byId("list-heading").scrollIntoView();
      byId("list-heading").focus({ preventScroll: true });
    });
  }
  for (const kind of ["focusin", "pointerover", "pointerdown"]) list.addEventListener(kind, fill);
  list.addEventListener("click", (event) => {
    if (event.target.matches(".more")) unfold(event.target.closest(".item"));
  });
  list.addEventListener("focusin", (event) => {
    const item = event.target.closest(".item");
    current = page * PAGE + [...list.children].indexOf(item);
    mark();
  });
  list.addEventListener("change", (event) => {
    const row = Number(event.target.closest(".item").dataset.row);
    if (event.target.matches(".label")) {
      label[row] = Number(event.target.value);
      accept(row, true); // whoever chooses a class means it; the given one takes the correction back
    } else accept(row, event.target.checked);
    changed();
  });
  byId("accept-all").addEventListener("click", () => changeMany(() => shown.forEach((row) => accept(row, true))));
  byId("clear").addEventListener("click", () => changeMany(() => accepted.clear()));
  byId("undo").addEventListener("click", () => {
    accepted = before;
    for (const [row, value] of accepted) label[row] = value;
    changed();
  });
  byId("reset").addEventListener("click", reset);
  byId("download").addEventListener("click", download);
  document.addEventListener("keydown", pressed);
})();
