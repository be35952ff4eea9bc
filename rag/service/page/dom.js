/** Making elements. Text becomes text nodes; nothing is ever read as markup. */

/** @param {string} id */
export const byId = (id) => document.getElementById(id);

/**
 * Make an element.
 *
 * @param {string} tag
 * @param {Record<string, any>} attributes `on…` are listeners; null and false leave one out.
 * @param {...(Node | string | null | undefined | false)} children Those that are none are left out.
 * @returns {HTMLElement}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if ((value ?? false) !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((each) => (each ?? false) !== false));
  return element;
}

/** @param {string} name One of the symbols of index.html. */
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** @param {string} name @param {string} label @param {Record<string, any>} attributes */
export function iconButton(name, label, attributes = {}) {
  const all = { type: "button", class: "quiet", "aria-label": label, title: label, ...attributes };
  return h("button", all, icon(name));
}

/**
 * Tell a screen reader what happened.
 *
 * @param {string} text
 */
export function announce(text) {
  byId("announcer").textContent = text;
}

/**
 * A link, where an address is one of the web; else its text. Addresses come from documents.
 *
 * @param {string} address
 * @param {string} text
 */
export function webLink(address, text = address) {
  if (!/^https?:\/\//i.test(address)) return h("span", { class: "address" }, text);
  const attributes = { class: "address", href: address, target: "_blank", rel: "noopener noreferrer" };
  return h("a", attributes, text, icon("outside"));
}
