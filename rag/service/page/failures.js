/** How failures are shown. */

import { Failure } from "./api.js";
import { byId, h, icon } from "./dom.js";
import { counted, sentence } from "./wording.js";

/**
 * What to tell people of an error.
 *
 * @param {Error} error
 */
export function told(error) {
  if (!(error instanceof Failure)) throw error; // a mistake of this page belongs in the console
  const wait = error.retryAfter;
  const again = wait === null ? "" : ` Try again in ${duration(wait)}.`;
  return sentence(error.message) + again;
}

/** @param {Error} error @param {...Node} actions */
export function failureNotice(error, ...actions) {
  const text = h("div", {}, h("p", {}, told(error)));
  if (error.requestId) {
    text.append(h("p", { class: "request-id" }, "Request ", h("code", {}, error.requestId)));
  }
  text.append(...actions);
  return h("div", { class: "notice bad", role: "alert" }, icon("warning"), text);
}

/**
 * Show a failure at the top of the page; null takes it away.
 *
 * @param {Error | null} error
 */
export function showTrouble(error) {
  const close = h("button", { type: "button", onclick: () => showTrouble(null) }, "Dismiss");
  byId("trouble").replaceChildren(...(error ? [failureNotice(error, close)] : []));
}

/**
 * Run what a person asked for; show how it failed, if it did.
 *
 * @param {() => Promise<void>} work
 */
export async function trying(work) {
  try {
    showTrouble(null);
    await work();
  } catch (error) {
    showTrouble(error);
  }
}

function duration(wait) {
  if (wait < 120) return counted(wait, "second");
  if (wait < 7200) return counted(wait / 60, "minute");
  return counted(wait / 3600, "hour");
}
