/** Dialogs that ask for something before it is done. */

import { announce, h } from "./dom.js";
import { told } from "./failures.js";

let opened = 0;

/**
 * Ask, and do what is asked about. The dialog stays open, and says why, where that fails.
 *
 * @param {object} options
 * @param {string} options.title
 * @param {string} options.text
 * @param {string} options.action What the button says.
 * @param {boolean} [options.danger] Whether nothing can bring back what the action takes away.
 * @param {{label: string, hint?: string, [attribute: string]: any}} [options.field] What to enter.
 * @param {(value: string) => Promise<void>} options.run
 * @returns {Promise<boolean>} Whether it was done.
 */
export function asked({ title, text, action, danger = false, field, run }) {
  const id = `dialog-${(opened += 1)}`;
  const says = h("p", { class: "bad", role: "alert" });
  const confirm = h("button", { class: danger ? "danger primary" : "primary" }, action);
  const cancel = h("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
  const input = field && inputOf(field, `${id}-input`);
  const form = h(
    "form",
    { onsubmit: (event) => submit(event) },
    h("h2", { id: `${id}-title` }, title),
    h("p", { id: `${id}-text` }, text),
    input && h("div", { class: "field" }, ...input),
    says,
    h("div", { class: "actions" }, cancel, confirm),
  );
  const names = { "aria-labelledby": `${id}-title`, "aria-describedby": `${id}-text` };
  const dialog = h("dialog", { class: "question", ...names }, form);
  let done = false;

  async function submit(event) {
    event.preventDefault();
    confirm.disabled = true;
    try {
      await run(input ? input[1].value : "");
      done = true;
      dialog.close();
    } catch (error) {
      says.textContent = told(error);
    } finally {
      confirm.disabled = false;
    }
  }

  document.body.append(dialog);
  dialog.showModal();
  (input ? input[1] : cancel).focus();
  announce("");
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(done);
    });
  });
}

function inputOf({ label, hint, ...attributes }, id) {
  const described = hint ? { "aria-describedby": `${id}-hint` } : {};
  return [
    h("label", { for: id }, label),
    h("input", { id, required: true, ...described, ...attributes }),
    ...(hint ? [h("small", { id: `${id}-hint` }, hint)] : []),
  ];
}
