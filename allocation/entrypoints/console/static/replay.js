// What a replay would read, and what differs between a rebuilt database and the live one. Changes nothing.

import { get } from "./api.js";
import { $, count, el, number, table, time } from "./dom.js";

let planned = 0;

async function plan() {
  const mine = ++planned; // an answer that comes late must not take the place of a later one
  const given = $("#since").value;
  const output = $("#plan-form output");
  output.textContent = "Looking …";
  try {
    const { lines } = await get("plan", { since: given ? new Date(given).toISOString() : "" });
    if (mine !== planned) return;
    const columns = [["topic"], ["partition", "n"], ["begins", "n"], ["first", "time"], ["ends", "n"], ["newest", "time"], ["handled up to", "n"], ["group's offset", "n"]];
    const cells = (one) => [one.topic, one.partition, number(one.begin), one.first_at && time(one.first_at), number(one.end), one.newest_at && time(one.newest_at),
      one.position === null ? null : number(one.position), one.committed === null ? null : number(one.committed)];
    if (given) columns.push(["from", "n"], ["reads", "n"]);
    $("#plan").replaceChildren(table(columns, lines.map((one) => [...cells(one), ...(given ? [number(one.start), number(one.covered)] : [])])));
    output.textContent = given ? `a replay from then reads ${count(lines.reduce((sum, one) => sum + one.covered, 0), "offset")} of these` : "";
  } catch (error) {
    $("#plan").replaceChildren();
    output.textContent = error.message;
  }
}

async function compare() {
  const schema = $("#schema").value;
  $("#compare").replaceChildren(el("p", { class: "note" }, "Comparing …"));
  try {
    const found = await get("compare", { schema });
    const rows = found.differences.map((one) => [one.subject, one.live, one.rebuilt]);
    $("#compare").replaceChildren(
      el("p", {}, el("span", { class: `tag ${found.equal ? "good" : "bad"}` }, found.equal ? "equal" : "different"),
        ` ${number(found.compared)} rows compared, ${number(found.differ)} differ${found.behind ? `; ${schema} lacks ${number(found.behind)} newer micro-batches` : ""}`),
      ...(rows.length ? [el("div", { class: "wide" }, table([["what"], ["live"], ["rebuilt"]], rows))] : []));
  } catch (error) {
    $("#compare").replaceChildren(el("p", { class: "wrong" }, error.message));
  }
}

export const open = plan;

$("#plan-form").addEventListener("submit", (event) => { event.preventDefault(); plan(); });
$("#compare-form").addEventListener("submit", (event) => { event.preventDefault(); compare(); });
