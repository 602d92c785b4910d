// The first page: from the topics through worker, outbox and relay to the events, and what is wrong.

import { $, clock, count, el, number, rate, svg, table, waits } from "./dom.js";

const STAGES = [
  { name: "Commands", rate: "arrived", unit: "arrive", level: "lag", waits: (n) => waits(n, "command"), alarm: /^(Kafka|topics)/ },
  { name: "Worker", rate: "handled", unit: "handled", level: "parked", waits: (n) => `${count(n, "command")} parked`, alarm: /^(worker|sku:|ref:)/ },
  { name: "Outbox", rate: "written", unit: "rows written", level: "outbox", waits: (n) => waits(n, "row"), alarm: /^(database|outbox)/ },
  { name: "Relay", rate: "sent", unit: "rows sent", alarm: /^relay/ },
  { name: "Events", rate: "announced", unit: "announced", alarm: /^(Kafka|topics)/ },
];

export function chart(values, label) {
  const width = 120, height = 40;
  const top = Math.max(1, ...values.filter((value) => value !== null));
  const x = (index) => width - (values.length - 1 - index);
  const y = (value) => (height - 2 - (value / top) * (height - 6)).toFixed(1);
  const pieces = [];
  values.forEach((value, index) => {
    if (value === null) return;
    if (!pieces.length || index === 0 || values[index - 1] === null) pieces.push([]);
    pieces.at(-1).push([x(index), y(value)]);
  });
  const drawn = svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label });
  drawn.append(svg("line", { class: "base", x1: 0, y1: height - 0.5, x2: width, y2: height - 0.5 }));
  for (const piece of pieces) {
    const line = piece.map((point) => point.join(",")).join(" ");
    drawn.append(svg("polygon", { class: "area", points: `${piece[0][0]},${height} ${line} ${piece.at(-1)[0]},${height}` }));
    drawn.append(svg("polyline", { class: "trace", points: line }));
  }
  return drawn;
}

function stage({ name, rate: key, unit, level, waits: said, alarm }, shown) {
  const waiting = level ? shown.levels[level] : null;
  const value = shown.rates[key], peak = rate(Math.max(0, ...shown.series[key]));
  return el("li", { class: shown.alarms.some((one) => alarm.test(one.what)) ? "alarmed" : "" },
    el("h2", {}, name),
    el("p", { class: "rate" }, rate(value)),
    el("p", { class: "unit" }, el("span", {}, `${unit}/s`), el("span", { title: "the most in the last two minutes" }, `peak ${peak}`)),
    chart(shown.series[key], `${name}: ${rate(value)} ${unit} a second; at most ${peak} in the last two minutes`),
    el("p", { class: waiting ? "waits some" : "waits" }, level ? (waiting === null ? "not known" : said(waiting)) : ""));
}

function topics(shown) {
  const byTopic = new Map();
  for (const one of shown.status.partitions) {
    const sum = byTopic.get(one.topic) || { lag: 0, end: 0 };
    byTopic.set(one.topic, { lag: sum.lag + one.lag, end: sum.end + one.end });
  }
  const rows = [...byTopic].map(([topic, { lag, end }]) => [topic, el("span", { class: lag ? "some" : "" }, number(lag)), number(end), rate(shown.arrivals[topic] ?? null)]);
  rows.push(...shown.events.map((one) => [one.topic, null, number(one.offsets), rate(one.rate)]));
  return rows;
}

// Who has a lease is called by host, process and a number that no other has.
const place = (owner) => owner.replace(/^(.+):(\d+):[0-9a-f]+$/, "process $2 on $1");

function who(shown) {
  const rows = (shown.status.members || []).map((one) => ["worker", `${one.name} on ${one.host}`, `${count(one.partitions, "partition")}`]);
  for (const [name, owner] of Object.entries(shown.status.owners || {})) rows.push([name, el("span", { title: owner }, place(owner)), "active"]);
  for (const [name, problem] of Object.entries(shown.parts)) rows.push(["health", name, problem ? el("span", { class: "tag bad" }, "not well") : el("span", { class: "tag good" }, "well")]);
  return rows;
}

function totals(shown) {
  const { stock, status } = shown;
  const letters = status.dead_letters;
  const known = [
    ["lines allocated", stock && number(stock.lines)],
    ["pieces allocated", stock && `${number(stock.allocated)} of ${number(stock.purchased)}`],
    ["batches", stock && number(stock.batches)],
    ["SKUs", stock && number(stock.skus)],
    ["events", stock && number(stock.events)],
    ["dead letters", letters && (letters.is_exact ? "" : "at most ") + number(letters.count)],
    ["parked", status.parked && number(shown.levels.parked)],
    ["oldest outbox row", status.outbox && (status.outbox.oldest_age_s === null ? "none" : `${number(status.outbox.oldest_age_s, 1)} s`)],
  ];
  return known.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value ?? "–")]);
}

let told = "", past = "";

/** What was wrong and is not any more: a part that is started again at once would be missed otherwise. */
function lately(shown) {
  const text = JSON.stringify(shown.lately);
  if (text === past) return;
  past = text;
  $("#lately").hidden = !shown.lately.length;
  $("#lately ul").replaceChildren(...shown.lately.map((one) => el("li", {},
    el("time", { datetime: one.began }, `${clock(one.began)} – ${clock(one.ended)}`), el("strong", {}, one.what), one.text)));
}

export function alarms(shown) {
  lately(shown);
  const text = JSON.stringify(shown.alarms);
  if (text === told) return; // who listens to the page hears what changes, not the same each second
  told = text;
  $("#alarms").hidden = !shown.alarms.length;
  $("#alarms ul").replaceChildren(...shown.alarms.map((one) => el("li", {}, el("strong", {}, one.what), one.text)));
}

export function draw(shown) {
  $("#stages").replaceChildren(...STAGES.map((one) => stage(one, shown)));
  const body = (rows, kinds) => table(kinds.map((kind) => ["", kind]), rows).tBodies[0];
  $("#topics").tBodies[0].replaceWith(body(topics(shown), ["", "n", "n", "n"]));
  $("#who").tBodies[0].replaceWith(body(who(shown), ["", "", ""]));
  $("#totals").replaceChildren(...totals(shown));
}
