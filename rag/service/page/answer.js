/** An answer with its citations, and what fell short. */

import { h, icon, webLink } from "./dom.js";
import { moment, sentence } from "./wording.js";
import { openCitation } from "./reader.js";

/**
 * @param {object} reply What the service answered.
 * @param {string | null} collection Where the documents are.
 * @returns {Node[]}
 */
export function answerOf(reply, collection) {
  const text = h("p", { class: "answer" }, ...pieces(reply, collection));
  const sources = reply.citations.map((citation) => h("li", {}, ...source(citation, collection)));
  return [
    reply.supported ? null : unsupported(),
    text,
    sources.length > 0 && h("ul", { class: "sources", "aria-label": "Sources" }, ...sources),
    reply.notes.length > 0 && notes(reply.notes),
  ].filter(Boolean);
}

/** The text, in which the numbers of citations are buttons. */
function pieces({ text, citations }, collection) {
  const byNumber = new Map(citations.map((each) => [String(each.number), each]));
  return text.split(/( ?\[\d+\])/).map((piece) => {
    const citation = byNumber.get(/^ ?\[(\d+)\]$/.exec(piece)?.[1]);
    return citation ? marker(citation, collection) : piece;
  });
}

function marker(citation, collection) {
  const label = `Citation ${citation.number}: ${titleOf(citation)}`;
  const open = () => openCitation(citation, collection);
  const attributes = { type: "button", class: "cite", "aria-label": label, title: titleOf(citation) };
  return h("button", { ...attributes, onclick: open }, String(citation.number));
}

function source(citation, collection) {
  const open = () => openCitation(citation, collection);
  const from = citation.retrieved
    ? h("p", { class: "muted" }, webLink(citation.uri), `, retrieved ${moment(citation.retrieved)}`)
    : null;
  return [
    h("span", { class: "number", "aria-hidden": "true" }, String(citation.number)),
    h(
      "div",
      {},
      h("button", { type: "button", class: "link", onclick: open }, titleOf(citation)),
      h("blockquote", {}, citation.quote),
      from,
    ),
  ];
}

const titleOf = ({ title, document_id: id }) => title || id;

function unsupported() {
  const text = "The documents do not support an answer.";
  return h("div", { class: "notice warn" }, icon("warning"), h("p", {}, text));
}

function notes(all) {
  const list = h("ul", {}, ...all.map((each) => h("li", {}, sentence(each))));
  return h("div", { class: "notes" }, h("h3", {}, "What fell short"), list);
}
