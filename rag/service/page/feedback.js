/** What somebody thinks of an answer. */

import { call } from "./api.js";
import { h, iconButton } from "./dom.js";
import { told } from "./failures.js";

/** @param {string} id The answer's. */
export function feedbackOn(id) {
  const says = h("span", { class: "muted", role: "status" });
  const comment = h("textarea", { rows: 2, maxlength: 4000, "aria-label": "Comment" });
  comment.placeholder = "What was good, or missing? (optional)";
  const form = h(
    "form",
    { class: "comment", hidden: true, onsubmit: (event) => explain(event) },
    comment,
    h("button", {}, "Send comment"),
  );
  const buttons = {
    up: iconButton("up", "Good answer", { "aria-pressed": "false", onclick: () => rate("up") }),
    down: iconButton("down", "Bad answer", { "aria-pressed": "false", onclick: () => rate("down") }),
  };
  let rating = null;

  const send = async (body) => {
    try {
      await call("/v1/feedback", { method: "POST", body: { answer_id: id, ...body } });
      return true;
    } catch (error) {
      says.textContent = told(error);
      return false;
    }
  };

  async function rate(given) {
    if (!(await send({ rating: given, comment: comment.value }))) return;
    rating = given;
    for (const [name, button] of Object.entries(buttons)) {
      button.setAttribute("aria-pressed", String(name === given));
    }
    form.hidden = false;
    says.textContent = "Thank you.";
  }

  async function explain(event) {
    event.preventDefault();
    if (!(await send({ rating, comment: comment.value }))) return;
    form.hidden = true;
    says.textContent = "Thank you for the comment.";
    buttons[rating].focus();
  }

  const thumbs = h("div", { class: "thumbs" }, says, buttons.up, buttons.down);
  return h("div", { class: "feedback" }, thumbs, form);
}
