// The story of an order, SKU or batch on a time line: what happened, and because of which command.

import { get } from "./api.js";
import { $, count, el, number, time } from "./dom.js";

const SHOWN = 300;
const KINDS = { allocated: "good", deallocated: "warn", "out of stock": "bad", refused: "bad", failed: "bad", waited: "warn", queued: "warn", pending: "warn" };

const tag = (word) => el("span", { class: `tag ${KINDS[word] || ""}` }, word);

function subject(step, kind) {
  if (step.line) return `${kind === "order" ? "" : `order ${step.line.orderid}, `}${number(step.line.qty)} of ${step.line.sku}`;
  return step.qty === null ? step.sku : `${number(step.qty)} of ${step.sku}`;
}

function item(step, kind) {
  const { command } = step;
  const place = command.topic ? `at ${command.topic}/${command.partition}/${command.offset}` : "";
  const sent = command.sent_at ? `sent ${time(command.sent_at)}` : "";
  return el("li", { class: KINDS[step.what] || "" },
    el("time", { datetime: step.at }, time(step.at)), tag(step.what), " ", subject(step, kind),
    step.batchref ? el("span", {}, step.what === "deallocated" ? " from " : step.line ? " → " : " in ", el("strong", {}, step.batchref)) : null,
    step.detail ? el("p", {}, step.detail) : null,
    el("p", {}, "because of ", el("code", {}, command.text || "a command")),
    el("p", { class: "origin" }, ["command", command.id].join(" "), ...[place, sent].filter(Boolean).map((text) => ` · ${text}`)));
}

function now(found) {
  const lines = found.lines.slice(0, SHOWN).map((one) => el("li", {}, `${number(one.qty)} of ${one.sku} `, tag(one.state), ...(one.batchref ? [" in ", el("strong", {}, one.batchref)] : [])));
  const batches = found.batches.slice(0, SHOWN).map((one) =>
    el("li", {}, "batch ", el("strong", {}, one.batchref), `: ${number(one.allocated)} of ${number(one.purchased)} allocated, ${one.eta === null ? "in the warehouse" : `ETA ${one.eta}`}`));
  return el("ul", { class: "now" }, ...("order" in found ? lines : []), ...batches);
}

let told = 0;

async function tell(kind, id) {
  const mine = ++told; // an answer that comes late must not take the place of a later one
  $("#story").replaceChildren(el("p", { class: "note" }, "Reading the topics …"));
  try {
    const found = await get("story", { kind, id });
    if (mine !== told) return;
    const steps = found.steps.slice(-SHOWN);
    $("#story").replaceChildren(
      el("h2", {}, `${{ order: "Order", sku: "SKU", batch: "Batch" }[kind]} ${id} now`),
      now(found),
      el("h2", {}, "What happened"),
      el("p", { class: "note" }, found.steps.length > SHOWN ? `the last ${SHOWN} of ${count(found.steps.length, "step")}` : count(found.steps.length, "step")),
      el("ol", { class: "timeline" }, ...steps.map((step) => item(step, kind))),
      ...found.notes.map((note) => el("p", { class: "note" }, note)));
    if (!found.steps.length) $("#story").replaceChildren(el("p", {}, `No command that names ${kind} ${id} is on the topics.`));
  } catch (error) {
    $("#story").replaceChildren(el("p", { class: "wrong" }, error.message));
  }
}

export function open(kind, id) {
  if (!kind || !id) return;
  $("#kind").value = kind;
  $("#story-id").value = id;
  tell(kind, id);
}

$("#story-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const wanted = `#/story/${$("#kind").value}/${encodeURIComponent($("#story-id").value)}`;
  if (location.hash === wanted) open($("#kind").value, $("#story-id").value);
  else location.hash = wanted;
});
