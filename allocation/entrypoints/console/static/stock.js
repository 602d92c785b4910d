// Stock by SKU. Only the rows in sight exist, whatever their number; pages are fetched as they come into sight.

import { get } from "./api.js";
import { $, count, el, number, svg, table } from "./dom.js";

const ROW = 44, PAGE = 100, SPARE = 6, WIDTH = 1000;

const view = $("#stock-view"), list = $("#stock-list");
let pages = new Map(), total = 0, prefix = "", edition = 0, seen = "", focused = null;

const sums = (batches) => batches.reduce(([full, all], one) => [full + one.allocated, all + one.purchased], [0, 0]);
const where = (batch) => (batch.eta === null ? "in the warehouse" : `ETA ${batch.eta}`);

function bar(batches) {
  const [, all] = sums(batches);
  const drawn = svg("svg", { class: "stock", viewBox: `0 0 ${WIDTH} 16`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const gap = batches.length > 1 ? Math.min(6, 200 / batches.length) : 0;
  let x = 0;
  for (const one of batches) {
    const width = all ? (one.purchased / all) * (WIDTH - gap * (batches.length - 1)) : 0;
    drawn.append(svg("rect", { class: one.eta === null ? "free" : "coming", x, y: 0, width, height: 16 }));
    drawn.append(svg("rect", { class: "full", x, y: 0, width: one.purchased ? (width * one.allocated) / one.purchased : 0, height: 16 }));
    x += width + gap;
  }
  return drawn;
}

function row(index) {
  const item = el("li", { "aria-posinset": index + 1, "aria-setsize": total });
  item.style.transform = `translateY(${index * ROW}px)`;
  const found = pages.get(Math.floor(index / PAGE))?.[index % PAGE];
  if (!found) return item;
  const [full, all] = sums(found.batches);
  const said = `${found.sku}: ${number(full)} of ${number(all)} allocated in ${count(found.batches.length, "batch").replace("batchs", "batches")}`;
  item.append(el("button", { type: "button", "aria-label": said, "data-index": index, onclick: () => show(found) },
    el("span", { class: "sku" }, found.sku), bar(found.batches), el("span", { class: "qty" }, `${number(full)} of ${number(all)}`)));
  return item;
}

function show(found) {
  $("#batches-title").textContent = found.sku;
  $("#batches-story").href = `#/story/sku/${encodeURIComponent(found.sku)}`;
  const columns = [["batch"], ["where"], ["allocated", "n"], ["of", "n"], ["lines", "n"]];
  const rows = found.batches.map((one) => [
    el("a", { href: `#/story/batch/${encodeURIComponent(one.batchref)}` }, one.batchref), where(one), number(one.allocated), number(one.purchased), number(one.lines)]);
  $("#batches .wide").replaceChildren(table(columns, rows));
  $("#batches").showModal();
}

function draw() {
  list.style.height = `${total * ROW}px`;
  const first = Math.max(0, Math.floor(view.scrollTop / ROW) - SPARE);
  const last = Math.min(total, Math.ceil((view.scrollTop + view.clientHeight) / ROW) + SPARE);
  const had = document.activeElement?.dataset?.index ?? focused;
  list.replaceChildren(...Array.from({ length: last - first }, (_, step) => row(first + step)));
  if (had !== null && had !== undefined && list.contains(document.activeElement) === false && document.activeElement === document.body)
    $(`button[data-index="${had}"]`, list)?.focus({ preventScroll: true });
  for (let page = Math.floor(first / PAGE); page <= Math.floor(Math.max(first, last - 1) / PAGE); page++) if (!pages.has(page)) fetchPage(page);
}

async function fetchPage(page) {
  const mine = edition;
  pages.set(page, []);
  try {
    const found = await get("stock", { prefix, first: page * PAGE, count: PAGE });
    if (mine !== edition) return;
    pages.set(page, found.skus);
    total = found.total;
    $("#stock-count").textContent = `${count(total, "SKU")}`;
  } catch (error) {
    if (mine === edition) pages.delete(page);
    $("#stock-count").textContent = error.message;
    return;
  }
  draw();
}

/** Fetch again what is in sight, the old rows standing until the new ones are there. */
async function refresh() {
  const first = Math.floor(view.scrollTop / ROW / PAGE), last = Math.floor((view.scrollTop + view.clientHeight) / ROW / PAGE);
  edition++;
  const mine = edition;
  try {
    const numbers = Array.from({ length: last - first + 1 }, (_, step) => first + step);
    const found = await Promise.all(numbers.map((page) => get("stock", { prefix, first: page * PAGE, count: PAGE })));
    if (mine !== edition) return;
    pages = new Map(found.map((one, index) => [numbers[index], one.skus]));
    total = found[0].total;
    $("#stock-count").textContent = `${count(total, "SKU")}`;
    draw();
  } catch (error) {
    $("#stock-count").textContent = error.message;
  }
}

/** What the live figures say of all stock; asks for rows only where that has changed. */
export function hear(shown) {
  const now = JSON.stringify(shown.stock);
  if (now === seen) return;
  seen = now;
  if (!view.closest("section[data-page]").hidden) refresh();
}

export const open = refresh;

let drawing = false;
view.addEventListener("scroll", () => {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => { drawing = false; draw(); });
}, { passive: true });
list.addEventListener("focusin", (event) => { focused = event.target.dataset.index ?? null; });
view.addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || event.target === view) return;
  event.preventDefault();
  const index = Number(event.target.dataset.index) + step;
  if (index < 0 || index >= total) return;
  const top = index * ROW;
  if (top < view.scrollTop) view.scrollTop = top;
  if (top + ROW > view.scrollTop + view.clientHeight) view.scrollTop = top + ROW - view.clientHeight;
  draw();
  $(`button[data-index="${index}"]`, list)?.focus({ preventScroll: true });
});
addEventListener("resize", draw);
$("#stock-search").addEventListener("submit", (event) => event.preventDefault());
let typing;
$("#prefix").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => { prefix = $("#prefix").value; view.scrollTop = 0; refresh(); }, 150);
});
