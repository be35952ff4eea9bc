/** The view that asks: the question, and all that were asked since the page was opened. */

import { answering } from "./api.js";
import { announce, byId, h } from "./dom.js";
import { Options } from "./options.js";
import { Turn } from "./turn.js";

/** @param {object} service @param {import("./collections.js").Collections} collections */
export function startAsking(service, collections) {
  const options = new Options(service, collections);
  const question = byId("question");
  const submit = byId("submit");
  /** @type {AbortController | null} */
  let running = null;

  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = question.value.trim();
    if (text && !running && options.check()) ask({ question: text, ...options.request() });
  });
  question.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    byId("composer").requestSubmit();
  });
  collections.addEventListener("change", () => welcome(service, collections));

  async function ask(request) {
    running = new AbortController();
    submit.setAttribute("aria-disabled", "true");
    byId("welcome").hidden = true;
    const again = () => running || ask(request);
    const turn = new Turn(request, { stop: () => running.abort(), again });
    byId("turns").prepend(turn.element);
    turn.element.scrollIntoView({ block: "nearest" });
    announce("Looking for an answer.");
    try {
      for await (const { event, data } of answering(request, running.signal)) {
        // Once the service has taken the question, the page need not keep it in the box.
        if (event === "start" && question.value.trim() === request.question) question.value = "";
        turn.take(event, data);
      }
      turn.end();
    } catch (error) {
      turn.fail(error);
    } finally {
      running = null;
      submit.removeAttribute("aria-disabled");
    }
  }
}

function welcome(service, { current }) {
  const place = byId("welcome");
  place.hidden = byId("turns").childElementCount > 0;
  if (current?.documents) {
    const facts = `Answers come from ${current.name}, with every sentence traced to its source.`;
    return place.replaceChildren(h("p", {}, facts));
  }
  if (!current && service.web) return place.replaceChildren();
  const writes = service.scopes.includes(current ? "write" : "admin");
  const text = current ? `${current.name} holds no documents yet.` : "There is no collection yet.";
  const action = current ? "Add documents" : "Create a collection";
  const link = h("a", { class: "button primary", href: byId("to-documents").href }, action);
  place.replaceChildren(h("p", {}, text), ...(writes ? [link] : []));
}
