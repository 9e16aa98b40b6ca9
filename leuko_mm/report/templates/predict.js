"use strict";
// Filters, the view of a cell in its field, and corrections: saved as a COCO file, or
// kept by `leuko app` (app.js). Without JavaScript the page shows all cells and hides
// the controls.
(() => {
  const section = document.getElementById("cells");
  const dialog = section.querySelector("dialog");
  if (!dialog) return;
  const content = JSON.parse(document.getElementById("content").textContent);
  const served = Boolean(content.app);
  const NO_CELL = "background", OTHER = "other", UNSURE = "unsure", IGNORE = "ignore";
  const names = content.classes.slice(1);
  const options = [
    ...names.map((name, i) => ({ key: String(i + 1), value: name, words: name })),
    { key: "o", value: OTHER, words: "other" },
    { key: "0", value: NO_CELL, words: "no cell" },
    { key: "u", value: IGNORE, words: "unsure" },
  ];
  const cards = [...section.querySelectorAll(".cell")];
  const view = (part) => dialog.querySelector(part);
  const chosen = new Map();
  const undone = []; // what cells were before each correction
  let open = null;
  let unsaved = false;
  let keeping = 0; // corrections that the server has not answered yet

  const found = new Map();
  content.images.forEach((image, number) => {
    for (const cell of image.cells) found.set(`${number}:${cell.id}`, { image, cell });
  });
  const keyOf = (card) => `${card.dataset.field}:${card.dataset.cell}`;
  const answered = (key) => found.get(key).cell.answer;
  // An unsure cell that nobody corrects is ignored by a training.
  const predicted = (key) => (answered(key) === UNSURE ? IGNORE : answered(key));
  const current = (key) => chosen.get(key) ?? predicted(key);
  const visible = () => cards.filter((card) => !card.parentElement.parentElement.hidden);

  function choice(key, label) {
    const list = document.createElement("select");
    list.setAttribute("aria-label", label);
    for (const { value, words } of options) list.add(new Option(words, value));
    list.value = current(key);
    list.addEventListener("change", () => choose(key, list.value));
    return list;
  }

  function mark(card) {
    const key = keyOf(card);
    card.querySelector("select").value = current(key);
    card.classList.toggle("changed", chosen.has(key));
    card.querySelector(".by-hand").hidden = !chosen.has(key);
  }

  const tell = (name, detail) =>
    document.dispatchEvent(new CustomEvent(name, { detail }));

  function choose(key, value) {
    const { image, cell } = found.get(key);
    const former = current(key);
    if (value === former) return;
    undone.push([key, former]);
    set(key, value);
    const said = { image: image.file_name, cell: cell.id, answer: value };
    tell("choose", { said, former, name: image.name });
  }

  function undo() {
    if (undone.length) set(...undone.pop());
  }

  function set(key, value) {
    if (value === predicted(key)) chosen.delete(key);
    else chosen.set(key, value);
    unsaved = !served;
    cards.filter((card) => keyOf(card) === key).forEach(mark);
    const list = view("select");
    if (open && keyOf(open) === key && list) {
      list.value = value;
      describe(key);
    }
    showCounts();
  }

  function showCounts() {
    const number = chosen.size;
    const words = `${number} correction${number === 1 ? "" : "s"}`;
    const state = keeping ? "keeping ..." : served ? "kept" : "saved";
    section.querySelector("[role=status]").textContent =
      keeping || (number && !unsaved) ? `${words}, ${state}` : words;
    if (served) return; // the server counts, and keeps what is taken back
    section.querySelector(".undo").disabled = !undone.length;
    tell("counted", counted());
  }

  function counted() {
    const counts = new Map(content.answers.map((name) => [name, 0]));
    for (const key of found.keys()) {
      const name = current(key) === IGNORE ? UNSURE : current(key);
      if (name !== NO_CELL) counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    const classed = names.reduce((sum, name) => sum + counts.get(name), 0);
    const leukocytes = classed + (counts.get(UNSURE) ?? 0);
    return [...counts].map(([name, count]) => {
      if (name !== OTHER) {
        const total = name === UNSURE ? leukocytes : classed;
        return row(name, count, count / (total || 1), interval(count, total));
      }
      // A number a hundred leukocytes: the share of all cells, as odds.
      const ends = interval(count, count + leukocytes).map((end) => end / (1 - end));
      return row(name, count, count / leukocytes, leukocytes ? ends : [NaN, NaN]);
    });
  }

  function row(name, count, share, [low, high]) {
    const shown = (part) => (Number.isFinite(part) ? (100 * part).toFixed(1) : "-");
    return { name, count, percent: shown(share), low: shown(low), high: shown(high) };
  }

  // Wilson's 95 % interval, as of the tables that were written beside the page.
  function interval(count, total) {
    if (!total) return [0, 1];
    const z = 1.959964, share = count / total, square = (z * z) / total;
    const middle = (share + square / 2) / (1 + square);
    const spread = (share * (1 - share)) / total + square / (4 * total);
    const half = (z * Math.sqrt(spread)) / (1 + square);
    return [count ? middle - half : 0, count === total ? 1 : middle + half];
  }

  function showRows(rows) {
    const lines = [...document.querySelectorAll("tr[data-answer]")];
    for (const line of lines) {
      line.hidden = !rows.some(({ name }) => name === line.dataset.answer);
    }
    document.querySelector(".counted-of").textContent =
      rows.length > names.length ? "whose class counts" : "found";
    for (const { name, count, percent, low, high } of rows) {
      const line = lines.find((one) => one.dataset.answer === name);
      if (!line) continue;
      const values = [count, percent, `${low}–${high}`];
      line.querySelectorAll("td.number").forEach((part, i) => {
        part.textContent = values[i];
      });
      const [, bar, range] = line.querySelectorAll(".share-bar rect");
      if (!bar) continue;
      bar.setAttribute("width", percent);
      range.setAttribute("x", low);
      range.setAttribute("width", high - low);
      line.querySelector(".share-bar svg").ariaLabel = `${percent} %`;
    }
  }

  function show(card) {
    open = card;
    const key = keyOf(card);
    const { image, cell } = found.get(key);
    const picture = document.querySelector(`#field-${card.dataset.field} img`);
    const [x0, y0, x1, y1] = cell.box;
    const box = view(".field-view svg");
    view(".field-view img").src = (picture ?? card.querySelector("img")).src;
    view(".field-view img").alt = picture ? `field ${image.name}` : `cell ${cell.id}`;
    box.toggleAttribute("hidden", !picture);
    box.setAttribute("viewBox", `0 0 ${image.width} ${image.height}`);
    const margin = 0.12 * Math.max(x1 - x0, y1 - y0);
    const place = { x: x0 - margin, y: y0 - margin };
    const size = { width: x1 - x0 + 2 * margin, height: y1 - y0 + 2 * margin };
    for (const [name, value] of Object.entries({ ...place, ...size })) {
      view(".field-view rect").setAttribute(name, value);
    }
    view("h3").textContent = `${image.name} #${cell.id}`;
    describe(key);
    view(".field-choice").replaceChildren(choice(key, "class of this cell"));
    // Those of the classes are given for a cell of one of them.
    const share = (i) => cell.probabilities[i + 1] * (1 - cell.other);
    view(".probabilities tbody").replaceChildren(
      ...names.map((name, i) => probability(name, share(i))),
      ...(content.answers.includes(OTHER) ? [probability(OTHER, cell.other)] : []),
    );
    // Not from the name, which need not be UTF-8.
    const whole = document.querySelector(`#field-${card.dataset.field} p a`);
    view(".whole").href = whole.getAttribute("href");
    if (!dialog.open) dialog.showModal();
    tell("shown", { box: cell.box, width: image.width, height: image.height });
  }

  function describe(key) {
    const { cell } = found.get(key);
    const sure = cell.answer === OTHER ? cell.other : cell.confidence;
    const answer =
      cell.answer === UNSURE ? `unsure: ${content.classes[cell.class]}?` : cell.answer;
    const words = [
      `${answer}, ${(100 * sure).toFixed(1)} %`,
      `${cell.area} pixels`,
      ...(cell.border ? ["cut by the border"] : []),
    ].join("; ");
    const option = options.find(({ value }) => value === current(key));
    view(".field-figures").textContent = chosen.has(key)
      ? `corrected to ${option.words}; the model: ${words}`
      : words;
  }

  function probability(name, share) {
    const row = document.createElement("tr");
    const head = document.createElement("th");
    const value = document.createElement("td");
    head.scope = "row";
    head.textContent = name;
    value.className = "number";
    value.textContent = `${(100 * share).toFixed(1)} %`;
    row.append(head, value);
    return row;
  }

  function step(by) {
    const among = visible();
    const next = among.indexOf(open) + by;
    show(among[(next + among.length) % among.length]);
  }

  function keyPressed(event, card) {
    if (event.ctrlKey || event.metaKey || event.altKey || !card) return;
    const option = options.find((known) => known.key === event.key.toLowerCase());
    if (!option) return;
    event.preventDefault();
    choose(keyOf(card), option.value);
  }

  function asCoco() {
    const images = content.images.map((image, i) => ({
      id: i + 1,
      file_name: image.file_name,
      width: image.width,
      height: image.height,
    }));
    const categories = options.map(({ value }, i) => ({ id: i + 1, name: value }));
    const number = new Map(categories.map(({ id, name }) => [name, id]));
    const annotations = [...found].map(([key, { image, cell }], i) => ({
      id: i + 1,
      image_id: content.images.indexOf(image) + 1,
      category_id: number.get(current(key)),
      bbox: [
        cell.box[0],
        cell.box[1],
        cell.box[2] - cell.box[0],
        cell.box[3] - cell.box[1],
      ],
      area: cell.area,
      iscrowd: 0,
      segmentation: { size: [image.height, image.width], counts: cell.runs },
      score: cell.confidence,
      cell: cell.id,
      predicted: answered(key),
      corrected: chosen.has(key),
    }));
    const info = {
      description: "leukocytes found by leuko predict, corrected by hand",
      version: content.version,
      corrections: chosen.size,
    };
    return { info, images, categories, annotations };
  }

  function download(name, text, type) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  function saveCount() {
    const cell = (text) => (text === "-" ? "" : text);
    const lines = counted().map((row) =>
      [row.name, row.count, ...[row.percent, row.low, row.high].map(cell)].join(),
    );
    const text = ["class,count,percent,low95,high95", ...lines, ""].join("\n");
    download("differential.csv", text, "text/csv");
  }

  function save() {
    download("corrections.json", JSON.stringify(asCoco(), null, 1), "application/json");
    unsaved = false;
    showCounts();
  }

  async function load(file) {
    try {
      const coco = JSON.parse(await file.text());
      const images = new Map(coco.images.map((image) => [image.id, image.file_name]));
      const words = new Map(coco.categories.map(({ id, name }) => [id, name]));
      for (const entry of coco.annotations) {
        const key = `${numbers.get(images.get(entry.image_id))}:${entry.cell}`;
        const value = words.get(entry.category_id);
        // Another prediction may number its cells differently.
        const known = found.get(key)?.cell.runs === entry.segmentation.counts;
        if (known && options.some((option) => option.value === value)) {
          choose(key, value);
        }
      }
      unsaved = false;
      showCounts();
    } catch {
      section.querySelector("[role=status]").textContent =
        `${file.name} holds no corrections`;
    }
  }

  for (const card of cards) {
    const { image, cell } = found.get(keyOf(card));
    card.append(choice(keyOf(card), `class of cell ${cell.id} of ${image.name}`));
    card.querySelector(".open").addEventListener("click", (event) => {
      event.preventDefault();
      show(card);
    });
    card.querySelector(".open").addEventListener("keydown", (e) => keyPressed(e, card));
  }
  for (const button of section.querySelectorAll("[data-show]")) {
    button.addEventListener("click", () => {
      for (const group of section.querySelectorAll(".cell-group")) {
        const wanted = button.dataset.show;
        group.hidden = wanted !== "all" && group.dataset.group !== wanted;
      }
      for (const other of section.querySelectorAll("[data-show]")) {
        other.setAttribute("aria-pressed", String(other === button));
      }
    });
  }
  for (const button of dialog.querySelectorAll("button[data-step]")) {
    button.addEventListener("click", () => step(Number(button.dataset.step)));
  }
  view("[data-close]").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("close", () => open?.querySelector(".open").focus());
  dialog.addEventListener("keydown", (event) => {
    if (event.target.tagName === "SELECT" || event.shiftKey) return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
    keyPressed(event, open);
  });
  document.addEventListener("counted", (event) => showRows(event.detail));
  section.querySelector(".save")?.addEventListener("click", save);
  section.querySelector(".save-count")?.addEventListener("click", saveCount);
  if (!served) {
    section.querySelector(".undo").addEventListener("click", undo);
    document.addEventListener("keydown", (event) => {
      if (!(event.ctrlKey || event.metaKey) || event.shiftKey) return;
      if (event.key.toLowerCase() !== "z") return;
      event.preventDefault();
      undo();
    });
  }
  section.querySelector(".load input")?.addEventListener("change", (event) => {
    if (event.target.files.length) load(event.target.files[0]);
  });
  const numbers = new Map(content.images.map((image, i) => [image.file_name, i]));
  const said = ({ image, cell, answer }) => set(`${numbers.get(image)}:${cell}`, answer);
  document.addEventListener("said", (event) => said(event.detail));
  document.addEventListener("keeping", (event) => {
    keeping = event.detail;
    showCounts();
  });
  window.addEventListener("beforeunload", (event) => {
    if (unsaved && chosen.size) event.preventDefault();
  });

  for (const part of section.querySelectorAll(".scripted")) part.hidden = false;
  content.app?.corrections.forEach(said);
  showCounts();
})();
