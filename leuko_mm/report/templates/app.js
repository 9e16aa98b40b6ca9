"use strict";
// What `leuko app` adds to the page: images are sent, corrections are kept by the
// server at once, and a field can be enlarged and moved.
(() => {
  const app = JSON.parse(document.getElementById("content").textContent).app;
  const find = (part) => document.querySelector(part);

  function say(part, words) {
    const place = find(part);
    if (!place) return;
    place.textContent = words;
    place.hidden = !words;
  }

  async function ask(path, method = "POST", content = undefined) {
    const body = content === undefined ? undefined : JSON.stringify(content);
    let answer;
    try {
      answer = await fetch(path, { method, body });
    } catch {
      throw new Error("leuko app does not answer: is it still running?");
    }
    if (!answer.ok) throw new Error(await answer.text());
    return answer.status === 204 ? null : answer.json();
  }

  // Runs a job; what goes wrong is shown and not lost in the console.
  const shown = (job) => async (...args) => {
    try {
      say(".fault", "");
      await job(...args);
    } catch (error) {
      say(".fault", error.message);
    }
  };

  // Images

  async function filesOf(transfer) {
    const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.());
    const found = [];
    async function below(entry) {
      if (!entry) return;
      if (entry.isFile) {
        found.push(await new Promise((done, fail) => entry.file(done, fail)));
        return;
      }
      const reader = entry.createReader();
      for (;;) {
        const some = await new Promise((done, fail) => reader.readEntries(done, fail));
        if (!some.length) return;
        for (const one of some) await below(one);
      }
    }
    // Folders are walked through, a hundred entries at a time.
    for (const entry of entries) await below(entry);
    return found.length ? found : [...transfer.files];
  }

  const sendAll = shown(async (files) => {
    // The files that a system hides in every folder are no images.
    const wanted = files.filter((file) => !file.name.startsWith("."));
    if (!wanted.length) return;
    let id = app?.id;
    if (!id) id = (await ask("/sessions", "POST", { name: find(".session-name").value })).id;
    const bar = find(".sent");
    Object.assign(bar, { hidden: false, max: wanted.length, value: 0 });
    const refused = [];
    // One after the other, so that they keep their order.
    for (const file of wanted) {
      const name = encodeURIComponent(file.name);
      try {
        const place = `/s/${id}/images?name=${name}`;
        const answer = await fetch(place, { method: "POST", body: file });
        if (!answer.ok) refused.push(await answer.text());
      } catch {
        // The server may close before it has read all of a file that is too large.
        refused.push(`${file.name}: could not be sent`);
      }
      bar.value += 1;
      say(".sent-words", `${bar.value} of ${wanted.length} files received`);
    }
    await ask(`/s/${id}/start`);
    if (!app) location.assign(`/s/${id}/`);
    const words = refused.length ? `; not taken: ${refused.join("; ")}` : "";
    say(".sent-words", `${wanted.length - refused.length} files received${words}`);
    bar.hidden = true;
    if (app) watch();
  });

  const drop = find(".drop");
  for (const input of drop.querySelectorAll("input[type=file]")) {
    input.addEventListener("change", () => {
      sendAll([...input.files]);
      input.value = "";
    });
  }
  for (const kind of ["dragover", "dragleave", "drop"]) {
    // Anywhere else the browser would leave the page for the file.
    window.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
      if (kind === "drop") filesOf(event.dataTransfer).then(sendAll);
    });
  }

  // Sessions

  const sure = find(".really")?.closest("dialog");
  let doomed = null;
  for (const button of document.querySelectorAll("[data-delete]")) {
    button.addEventListener("click", () => {
      doomed = button.dataset.delete;
      const name = button.closest("tr").querySelector("a").textContent;
      find("#delete-title").textContent = `Delete “${name}”?`;
      sure.showModal();
    });
  }
  for (const button of document.querySelectorAll("[data-rename]")) {
    button.addEventListener("click", shown(async () => {
      const link = button.closest("tr").querySelector("a");
      const name = prompt("Name of the session", link.textContent)?.trim();
      if (!name) return;
      await ask(`/s/${button.dataset.rename}`, "PATCH", { name });
      location.reload();
    }));
  }
  find(".keep")?.addEventListener("click", () => sure.close());
  find(".really")?.addEventListener("click", shown(async () => {
    sure.close();
    await ask(`/s/${doomed}`, "DELETE");
    location.reload();
  }));
  if (!app) return;

  // Progress

  const here = (path) => `/s/${app.id}/${path}`;
  const doneAtFirst = app.status.done;
  let watching = false;

  function showStatus(status) {
    const [done, total] = status.progress;
    find(".running").hidden = !status.running;
    Object.assign(find(".running progress"), { max: total || 1, value: done });
    const words = [`${done} of ${total} images`, status.left, status.item];
    find(".progress-words").textContent = words.filter(Boolean).join("; ");
    find(".fresh").hidden = status.done === doneAtFirst;
    if (status.error) say(".fault", status.error);
    const failed = status.images.filter((image) => image.reason).length;
    find(".image-list summary").textContent =
      `${status.images.length} images, ${status.done} done` +
      (failed ? `, ${failed} not read` : "");
    find(".image-list tbody").replaceChildren(
      ...status.images.map(({ name, cells, reason }) => {
        const row = document.createElement("tr");
        const head = document.createElement("th");
        const state = document.createElement("td");
        head.scope = "row";
        head.textContent = name;
        state.textContent =
          reason ??
          (cells === null ? "waiting" : `${cells} cell${cells === 1 ? "" : "s"}`);
        row.append(head, state);
        return row;
      }),
    );
  }

  async function watch() {
    if (watching) return;
    watching = true;
    try {
      for (;;) {
        const status = await ask(here("status"), "GET");
        showStatus(status);
        if (!status.running) {
          if (status.done === doneAtFirst) return;
          await allAnswered();
          // What was refused is still to be read.
          if (!refused && !find("dialog[open]")) location.reload();
          return;
        }
        await new Promise((done) => setTimeout(done, 1000));
      }
    } catch (error) {
      say(".fault", error.message);
    } finally {
      watching = false;
    }
  }

  // Corrections that were sent wait in a queue, one after the other, so that the last
  // one is the last one on the disk, too.
  let queue = Promise.resolve();
  let queued = 0;
  let refused = false;

  async function allAnswered() {
    while (queued) await queue;
  }

  function announce(change) {
    queued += change;
    document.dispatchEvent(new CustomEvent("keeping", { detail: queued }));
  }

  function inTurn(job) {
    announce(1);
    queue = queue
      .then(job)
      .catch((error) => {
        refused = true;
        say(".fault", error.message);
      })
      .then(() => announce(-1));
  }

  window.addEventListener("beforeunload", (event) => {
    if (queued) event.preventDefault();
  });
  find(".fresh").addEventListener("click", () => allAnswered().then(() => location.reload()));
  showStatus(app.status);
  const waits = ({ cells, reason }) => cells === null && !reason;
  if (app.status.running) watch();
  else if (app.status.images.some(waits) && !app.status.error) {
    // The page that sent them was closed before it said that all are there.
    shown(() => ask(here("start")).then(watch))();
  }

  // Corrections and the count

  const aim = find(".aim");
  aim.value = localStorage.getItem("aim") ?? "100";
  aim.addEventListener("change", () => {
    localStorage.setItem("aim", aim.value);
    showCounter();
  });
  let counted = 0;

  function showCounter() {
    const missing = Number(aim.value) - counted;
    const state = missing > 0 ? `${missing} to go` : "reached";
    Object.assign(find(".counted"), { max: Number(aim.value), value: counted });
    find(".counted-words").textContent = `${counted} cells counted; ${state}`;
  }

  function showCounts(answer) {
    counted = answer.counted;
    document.dispatchEvent(new CustomEvent("counted", { detail: answer.rows }));
    const undo = find(".undo");
    if (undo) undo.disabled = !answer.undoable;
    showCounter();
  }

  // Of each cell with corrections in the queue: what is kept, and how many they are.
  const cells = new Map();
  const keyOf = ({ image, cell }) => `${cell}:${image}`;

  function showKept(key) {
    const { kept } = cells.get(key);
    cells.delete(key);
    document.dispatchEvent(new CustomEvent("said", { detail: kept }));
  }

  async function keep(said, name) {
    const key = keyOf(said);
    const state = cells.get(key);
    try {
      const answer = await ask(here("corrections"), "POST", said);
      state.kept = said;
      showCounts(answer);
    } catch (error) {
      const reason = `The correction of cell ${said.cell} of ${name} was not kept: `;
      throw new Error(reason + error.message, { cause: error });
    } finally {
      state.queued -= 1;
      if (!state.queued) showKept(key);
    }
  }

  async function takeBack() {
    const answer = await ask(here("undo"));
    const { undone } = answer;
    if (undone?.answer) {
      const state = cells.get(keyOf(undone));
      if (state) state.kept = undone; // it is shown after what is still in the queue
      else document.dispatchEvent(new CustomEvent("said", { detail: undone }));
    }
    showCounts(answer);
  }

  const undo = () => inTurn(takeBack);
  document.addEventListener("choose", ({ detail: { said, former, name } }) => {
    const key = keyOf(said);
    if (!cells.has(key)) cells.set(key, { kept: { ...said, answer: former }, queued: 0 });
    cells.get(key).queued += 1;
    inTurn(() => keep(said, name));
  });
  find(".undo")?.addEventListener("click", undo);
  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.shiftKey) return;
    if (event.key.toLowerCase() !== "z" || event.target.tagName === "INPUT") return;
    event.preventDefault();
    undo();
  });
  showCounts(app.counts);

  find(".dataset").addEventListener("click", shown(async () => {
    find(".dataset").disabled = true;
    find(".made").textContent = "working ...";
    try {
      const made = await ask(here("dataset"));
      const line = (words, code) => {
        const part = document.createElement("p");
        const text = document.createElement("code");
        text.textContent = code;
        part.append(words, text);
        return part;
      };
      const output = document.createElement("pre");
      output.textContent = made.said;
      find(".made").replaceChildren(
        made.made
          ? line("The dataset is made. Train on it with: ", made.train)
          : line("It could not be made here. Where the toolkit is: ", made.prepare),
        ...(made.made ? [line("Made by: ", made.prepare)] : []),
        output,
      );
    } catch (error) {
      find(".made").textContent = "";
      throw error;
    } finally {
      find(".dataset").disabled = false;
    }
  }));

  // Zoom and pan

  const field = find(".field-view");
  if (!field) return;
  const parts = [...field.children];
  let zoom = 1, x = 0, y = 0;

  function place() {
    const { clientWidth: width, clientHeight: height } = field;
    x = Math.min(0, Math.max(width * (1 - zoom), x));
    y = Math.min(0, Math.max(height * (1 - zoom), y));
    for (const part of parts) part.style.transform = `translate(${x}px, ${y}px) scale(${zoom})`;
  }

  function enlarge(by, atX = field.clientWidth / 2, atY = field.clientHeight / 2) {
    const next = by ? Math.min(12, Math.max(1, zoom * by)) : 1;
    x = atX - ((atX - x) * next) / zoom;
    y = atY - ((atY - y) * next) / zoom;
    zoom = next;
    place();
  }

  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => enlarge(Number(button.dataset.zoom)));
  }
  field.addEventListener("wheel", (event) => {
    event.preventDefault();
    const { left, top } = field.getBoundingClientRect();
    enlarge(event.deltaY < 0 ? 1.25 : 0.8, event.clientX - left, event.clientY - top);
  });
  field.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    field.focus();
    field.setPointerCapture(event.pointerId);
  });
  field.addEventListener("pointermove", (event) => {
    if (!field.hasPointerCapture(event.pointerId)) return;
    x += event.movementX;
    y += event.movementY;
    place();
  });
  find("#cells dialog").addEventListener("keydown", (event) => {
    const by = { "+": 1.5, "=": 1.5, "-": 1 / 1.5, f: 0 }[event.key];
    if (by !== undefined && !event.ctrlKey && !event.metaKey) enlarge(by);
    const ways = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const way = event.shiftKey && ways[event.key];
    if (!way) return;
    event.preventDefault();
    x += way[0] * field.clientWidth * 0.2;
    y += way[1] * field.clientHeight * 0.2;
    place();
  });
  // Every cell is first seen enlarged, in the middle.
  document.addEventListener("shown", (event) => {
    const { box, width, height } = event.detail;
    const side = Math.max(box[2] - box[0], box[3] - box[1]);
    zoom = Math.min(6, Math.max(1, (0.3 * Math.min(width, height)) / side));
    x = field.clientWidth * (0.5 - (zoom * (box[0] + box[2])) / 2 / width);
    y = field.clientWidth * (height / width) * 0.5;
    y -= (zoom * field.clientWidth * (box[1] + box[3])) / 2 / width;
    place();
  });
})();
