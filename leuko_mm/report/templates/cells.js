"use strict";
// Filters, order and enlargement of the cells. Without JavaScript the page shows all
// cells, the worst first, and hides the controls.
(() => {
  const section = document.getElementById("cells");
  if (!section) return;
  const list = section.querySelector(".cards");
  const cards = [...list.children];
  const dialog = section.querySelector("dialog");
  const status = section.querySelector(".shown");
  let open = null;

  const visible = () => [...list.children].filter((card) => !card.hidden);

  function press(button) {
    for (const other of button.parentElement.querySelectorAll("button")) {
      other.setAttribute("aria-pressed", String(other === button));
    }
  }

  function showCount() {
    status.textContent = `${visible().length} of ${cards.length} shown`;
  }

  function show(card) {
    open = card;
    const enlarged = card.cloneNode(true);
    const name = document.createElement("h3");
    name.textContent = card.querySelector("h3").textContent;
    enlarged.querySelector("h3").replaceWith(name);
    const content = document.createElement("article");
    content.append(...enlarged.childNodes);
    dialog.querySelector(".enlarged").replaceChildren(content);
    if (!dialog.open) dialog.showModal();
  }

  function step(by) {
    const among = visible();
    const next = among.indexOf(open) + by;
    show(among[(next + among.length) % among.length]);
  }

  for (const button of section.querySelectorAll("button[data-class]")) {
    button.addEventListener("click", () => {
      const wanted = button.dataset.class;
      for (const card of cards) {
        card.hidden = wanted !== "all" && card.dataset.class !== wanted;
      }
      press(button);
      showCount();
    });
  }

  for (const button of section.querySelectorAll("button[data-order]")) {
    button.addEventListener("click", () => {
      const sign = button.dataset.order === "worst" ? 1 : -1;
      list.append(
        ...[...cards].sort((a, b) => sign * (a.dataset.rank - b.dataset.rank)),
      );
      press(button);
    });
  }

  for (const card of cards) {
    const title = card.querySelector("h3");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "enlarge";
    button.textContent = title.textContent;
    button.title = "enlarge";
    button.addEventListener("click", () => show(card));
    title.replaceChildren(button);
  }

  for (const button of dialog.querySelectorAll("button[data-step]")) {
    button.addEventListener("click", () => step(Number(button.dataset.step)));
  }
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  // On paper nothing can be unfolded.
  window.addEventListener("beforeprint", () => {
    for (const fold of document.querySelectorAll("details")) fold.open = true;
  });

  for (const element of section.querySelectorAll(".scripted")) element.hidden = false;
  showCount();
})();
