// Dead letters and parked commands.

import { post } from "./api.js";
import { chosenList } from "./chosen.js";
import { $, count, el, number, time } from "./dom.js";

const told = (results) => {
  const counts = new Map();
  for (const one of results) counts.set(one.result, (counts.get(one.result) || 0) + 1);
  const problems = results.filter((one) => one.result === "impossible").map((one) => `${one.place}: ${one.text}`);
  return [[...counts].map(([what, many]) => `${many} ${what}`).join(", "), ...problems].join("; ");
};

const gone = (results) => results.map((one) => {
  const counts = Object.entries(one.counts).filter(([, many]) => many).map(([what, many]) => `${many} ${what}`).join(", ");
  return `${one.queue}: ${counts || "nothing could go on"}${one.failure ? `; command ${one.failure}` : ""}`;
}).join("; ");

const letterAction = (verb, path, text) => (picked) => ({
  title: `${verb} ${count(picked.length, "dead letter")}?`,
  text,
  verb,
  items: picked.map((one) => `${one.place}: ${one.reason}, ${one.key ?? "no key"}, from ${one.from ?? "nowhere"}`),
  run: async (why, who) => told((await post(path, { places: picked.map((one) => one.place), why, who })).results),
});

export const letters = chosenList({
  form: $("#letters-form"), into: $("#letters"), what: "dead letter", path: "dead-letters", rows: "dead_letters",
  empty: "No command was refused: there is no such dead letter.",
  parameters: () => ({ open: $("#only-open").checked }),
  key: (one) => one.place,
  columns: [["place", "n"], ["time", "time"], ["reason"], ["error", "error"], ["key"], ["from"], ["attempt", "n"], ["state"]],
  cells: (one) => [one.place, time(one.time), el("span", { class: "tag bad" }, one.reason), one.error, one.key, one.from, one.attempt,
    el("span", { title: one.decision || "" }, one.state)],
  actions: {
    redrive: letterAction("Redrive", "dead-letters/redrive", "Each goes back to the topic that it came from, as the next attempt of its command. It cannot be called back."),
    discard: letterAction("Discard", "dead-letters/discard", "They stay on their topic, and count as settled."),
  },
});
$("#only-open").addEventListener("change", letters.load);

export const parked = chosenList({
  form: $("#parked-form"), into: $("#parked"), what: "parked command", path: "parked", rows: "parked",
  empty: "No command waits for its batch, and none has failed.",
  parameters: () => ({}),
  key: (one) => String(one.id),
  columns: [["id", "n"], ["queue"], ["state"], ["command"], ["reason"], ["error", "error"], ["age", "n"]],
  cells: (one) => [one.id, one.queue, el("span", { class: `tag ${one.state === "poisoned" ? "bad" : "warn"}` }, one.state),
    el("code", {}, one.command), one.reason, one.class && !one.error.startsWith(one.class) ? `${one.class}: ${one.error}` : one.error, `${number(one.age_s)} s`],
  actions: {
    release: (picked) => {
      const queues = [...new Set(picked.map((one) => one.queue))];
      return {
        title: `Release ${count(queues.length, "queue")}?`,
        text: "What failed or waits there is tried again, and what stands behind it goes on, until one must stay.",
        verb: "Release",
        items: queues,
        run: async (why, who) => {
          const done = [];
          for (const queue of queues) done.push(...(await post("parked/release", { queue, why, who })).results);
          return gone(done);
        },
      };
    },
    discard: (picked) => ({
      title: `Discard ${count(picked.length, "parked command")}?`,
      text: "They go to the dead letters, and what stands behind them goes on.",
      verb: "Discard",
      items: picked.map((one) => `${one.id} in ${one.queue}: ${one.command}`),
      run: async (why, who) => gone((await post("parked/discard", { ids: picked.map((one) => one.id), why, who })).results),
    }),
  },
});
