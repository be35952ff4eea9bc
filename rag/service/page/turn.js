/** A question on the page: how it is being answered, and its answer. */

import { answerOf } from "./answer.js";
import { Failure, failureOf } from "./api.js";
import { costOf } from "./cost.js";
import { announce, h } from "./dom.js";
import { failureNotice } from "./failures.js";
import { feedbackOn } from "./feedback.js";
import { Steps } from "./steps.js";

let made = 0;

export class Turn {
  /**
   * @param {object} request What is asked.
   * @param {{stop: () => void, again: () => void}} actions
   */
  constructor(request, { stop, again }) {
    this.request = request;
    this.again = again;
    this.ended = false;
    this.steps = new Steps();
    this.draft = h("p", { class: "draft" });
    this.stop = h("button", { type: "button", class: "stop", onclick: stop }, "Stop");
    this.body = h("div", { class: "turn-body" });
    const id = `turn-${(made += 1)}`;
    this.element = h(
      "article",
      { class: "turn card", "aria-labelledby": id, "aria-busy": "true" },
      h("header", {}, h("h2", { id, tabindex: "-1" }, request.question), this.stop),
      this.steps.element,
      this.draft,
      this.body,
    );
  }

  /**
   * Show an event of the service.
   *
   * @param {string} event
   * @param {any} data
   */
  take(event, data) {
    if (event === "operation") this.#operation(data);
    else if (event === "delta") this.#delta(data);
    else if (event === "answer") this.#answer(data);
    else if (event === "error") throw failureOf(0, JSON.stringify(data), () => null);
  }

  /** The stream has ended. */
  end() {
    if (!this.ended) throw new Failure("The service stopped before it had answered.");
  }

  /** @param {Error} error */
  fail(error) {
    const button = h("button", { type: "button", onclick: this.again }, "Ask again");
    if (error.name === "AbortError") {
      this.#close(h("div", { class: "notice" }, h("p", {}, "Stopped."), button));
      announce("Stopped.");
    } else {
      this.#close(failureNotice(error, button));
    }
  }

  #operation(data) {
    if (data.operation === "generate" && data.state === "started") this.draft.replaceChildren();
    this.steps.take(data);
  }

  #delta({ text }) {
    // Of replies that are written at once, nobody could read the pieces as they mingle.
    if (this.steps.writing === 1) this.draft.append(text);
  }

  #answer(reply) {
    this.ended = true;
    this.steps.addQuestions(reply.steps);
    this.#close(
      ...answerOf(reply, this.request.collection),
      h("footer", {}, costOf(reply), feedbackOn(reply.id)),
    );
    announce(`Answer: ${reply.text}`);
  }

  #close(...shown) {
    const focused = document.activeElement === this.stop;
    this.stop.remove();
    this.draft.remove();
    this.steps.end();
    this.body.replaceChildren(...shown);
    this.element.removeAttribute("aria-busy");
    if (focused) this.element.querySelector("h2").focus();
  }
}
