// A list of which some rows can be chosen, and something be done about them: dead letters and parked commands.

import { $, count, el, table } from "./dom.js";
import { get } from "./api.js";
import { confirm, enable } from "./confirm.js";

/** `load` fetches rows, `cells` shows one, `key` names one, `actions` by button: what is asked, and done. */
export function chosenList({ form, into, what, path, parameters, rows, columns, cells, key, actions, empty }) {
  let chosen = new Set(), shown = [], isOpen = false, hasFailed = false, seen = null, done = "";
  const output = $("output", form);
  const buttons = [...form.querySelectorAll("[data-do]")].filter((one) => one.dataset.do in actions);

  const update = () => enable(buttons, chosen.size);

  function box(name, label, checked, onchange) {
    const made = el("input", { type: "checkbox", "aria-label": label, onchange });
    made.checked = checked;
    return made;
  }

  function draw() {
    const all = box("all", `Choose all ${what}s`, shown.length > 0 && chosen.size === shown.length, (event) => {
      chosen = new Set(event.target.checked ? shown.map(key) : []);
      draw();
      $("thead input", into).focus();
    });
    const made = table([[all, ""], ...columns], shown.map((one) => [
      box(key(one), `Choose ${what} ${key(one)}`, chosen.has(key(one)), (event) => {
        event.target.checked ? chosen.add(key(one)) : chosen.delete(key(one));
        update();
      }), ...cells(one)]));
    into.replaceChildren(shown.length ? made : el("p", { class: "note empty" }, empty));
    update();
  }

  async function load() {
    hasFailed = false;
    try {
      const found = await get(path, parameters());
      shown = found[rows];
      const keys = new Set(shown.map(key));
      chosen = new Set([...chosen].filter((one) => keys.has(one)));
      // What was done changes the live figures, so that this is loaded again at once: it must stay to be read.
      output.textContent = done || (found.more ? `the oldest ${count(shown.length, what)}` : count(shown.length, what));
      draw();
    } catch (error) {
      hasFailed = true;
      output.textContent = "";
      into.replaceChildren(el("p", { class: "wrong empty" }, error.message));
    }
  }

  const anew = () => { done = ""; return load(); };

  for (const button of form.querySelectorAll("[data-do]")) {
    button.addEventListener("click", () => {
      if (button.dataset.do === "reload") { anew(); return; }
      const picked = shown.filter((one) => chosen.has(key(one)));
      const { title, text, verb, run, items } = actions[button.dataset.do](picked);
      confirm({ title, text, verb, items, run: async (why, who) => {
        done = await run(why, who);
        chosen.clear();
        await load();
      } });
    });
  }
  document.addEventListener("unlocked", update);

  return {
    open() { isOpen = true; anew(); },
    close() { isOpen = false; },
    load: anew,
    /** Load again when the live figures have changed, or the last time it could not be loaded. */
    hear(now) {
      const changed = seen !== null && seen !== now;
      seen = now;
      if (isOpen && (changed || hasFailed)) load();
    },
  };
}
