// Nothing is changed without a reason, and without seeing once more what is meant.

import { isUnlocked, unlock } from "./api.js";
import { $, el } from "./dom.js";

const dialog = $("#confirm"), tokenDialog = $("#token-dialog");
const LISTED = 20;

let act = null;

/** Ask; `run(why, who)` does it, and may throw what stands in the way. */
export function confirm({ title, text, items, verb, run }) {
  $("#confirm-title").textContent = title;
  $("#confirm-text").textContent = text;
  const more = items.length > LISTED ? [el("li", {}, `and ${items.length - LISTED} more`)] : [];
  $("#confirm-list").replaceChildren(...items.slice(0, LISTED).map((one) => el("li", {}, one)), ...more);
  $("button[value=yes]", dialog).textContent = verb;
  $(".wrong", dialog).textContent = "";
  $("#why").value = "";
  act = run;
  dialog.showModal();
  $("#why").focus();
}

function answered(within, run) {
  $("form", within).addEventListener("submit", async (event) => {
    if (event.submitter?.value !== "yes") return;
    event.preventDefault();
    event.submitter.disabled = true;
    try {
      await run();
      within.close();
    } catch (error) {
      $(".wrong", within).textContent = error.message;
    } finally {
      event.submitter.disabled = false;
    }
  });
}

answered(dialog, () => act($("#why").value, $("#by").value));
answered(tokenDialog, async () => {
  await unlock($("#token").value);
  $("#token").value = "";
  $("#unlock").hidden = true;
  document.dispatchEvent(new Event("unlocked"));
});
$("#unlock").addEventListener("click", () => { $(".wrong", tokenDialog).textContent = ""; tokenDialog.showModal(); });

/** Enable what changes something only while it is allowed and something is chosen. */
export function enable(buttons, chosen) {
  for (const button of buttons) {
    button.disabled = !isUnlocked() || !chosen;
    button.title = isUnlocked() ? "" : "Unlock changes first";
  }
}
