// Joins the pages: which one is shown, and the live figures, of which there is one stream for all of them.

import { get } from "./api.js";
import { $, number } from "./dom.js";
import { letters, parked } from "./desks.js";
import "./confirm.js";
import * as flow from "./flow.js";
import * as replay from "./replay.js";
import * as stock from "./stock.js";
import * as story from "./story.js";

const PAGES = { flow: {}, stock, story, letters, parked, replay };
// Frames come each second; without one for so long what is shown is old.
const SILENT_AFTER_MS = 4000;

function route(isFirst) {
  if (!location.hash.startsWith("#/") && !isFirst) return; // a link within the page
  const [name, ...rest] = location.hash.replace(/^#\//, "").split("/").map(decodeURIComponent);
  const page = name in PAGES ? name : "flow";
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  for (const section of document.querySelectorAll("section[data-page]")) section.hidden = section.dataset.page !== page;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#/${page}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${$(`section[data-page=${page}] h1`).textContent} - Allocation`;
  for (const [other, one] of Object.entries(PAGES)) if (other !== page) one.close?.();
  PAGES[page].open?.(...rest);
  if (!isFirst) $("#main").focus({ preventScroll: true });
}

function state(text, kind) {
  const shown = $("#state");
  if (shown.textContent !== text) shown.textContent = text;
  shown.className = `state ${kind}`;
}

function badge(name, value) {
  const shown = $(`[data-count=${name}]`);
  shown.hidden = !value;
  shown.textContent = value ? number(value) : "";
}

let silence;
function hear(event) {
  const shown = JSON.parse(event.data);
  clearTimeout(silence);
  silence = setTimeout(() => state("The console does not answer", "bad"), SILENT_AFTER_MS);
  state(shown.alarms.length ? `${number(shown.alarms.length)} wrong` : "All is well", shown.alarms.length ? "bad" : "good");
  flow.alarms(shown);
  flow.draw(shown);
  stock.hear(shown);
  badge("letters", shown.status.dead_letters?.count);
  badge("parked", shown.levels.parked);
  letters.hear(shown.status.dead_letters?.count ?? null);
  parked.hear(JSON.stringify(shown.status.parked && Object.entries(shown.status.parked).map(([name, one]) => [name, one.rows])));
}

const live = new EventSource("api/live");
live.addEventListener("overview", hear);
live.addEventListener("error", () => state("The console does not answer", "bad"));
addEventListener("hashchange", () => route(false));
get("console").then(({ may_change }) => { $("#unlock").hidden = !may_change; }).catch(() => {});
route(true);
