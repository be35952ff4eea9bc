/** What a pipeline does, as it does it. */

import { announce, h, webLink } from "./dom.js";
import { counted } from "./wording.js";

const STAGES = {
  answer: "Answering",
  compare: "Comparing answers",
  examples: "Choosing worked examples",
  intermediate: "Answering a sub-question",
  read: "Reading",
  reason: "Thinking",
  rerank: "Ranking what was found",
  score: "Weighing answers",
};

/** Operations that are part of others, and say nothing to people. */
const UNSAID = new Set(["embed"]);

export class Steps {
  constructor() {
    /** @type {Map<string, Line>} */
    this.lines = new Map();
    /** Replies that are being written. */
    this.writing = 0;
    this.list = h("ol");
    this.summary = h("summary", {}, "Starting");
    this.element = h("details", { class: "steps running", open: true }, this.summary, this.list);
  }

  /**
   * Show an operation that began or ended.
   *
   * @param {{operation: string, stage: string, state: string, detail: string, found: string[]}} event
   */
  take(event) {
    if (event.operation === "generate") this.writing += event.state === "started" ? 1 : -1;
    if (UNSAID.has(event.operation)) return;
    const name = [event.operation, event.stage, event.detail].join("\n");
    if (!this.lines.has(name)) {
      this.lines.set(name, new Line(event));
      this.list.append(this.lines.get(name).element);
    }
    this.lines.get(name).take(event);
    if (event.state === "started") {
      this.summary.textContent = titleOf(event);
      announce(titleOf(event));
    }
  }

  /** @param {{question: string, answer: string}[]} questions Sub-questions, and their answers. */
  addQuestions(questions) {
    for (const { question, answer } of questions) {
      const said = answer && h("span", { class: "found" }, answer);
      this.list.append(h("li", { class: "done" }, `Sub-question: ${question}`, said || null));
    }
  }

  /** Nothing more will happen. */
  end() {
    const steps = this.list.childElementCount;
    for (const line of this.lines.values()) line.end();
    this.element.classList.remove("running");
    this.element.open = false;
    this.element.hidden = steps === 0;
    this.summary.textContent = counted(steps, "step");
  }
}

/** Operations of one kind, stage and detail. */
class Line {
  constructor(event) {
    this.running = 0;
    this.times = 0;
    this.count = h("span", { class: "muted" });
    this.found = h("span", { class: "found" });
    const address = event.operation === "fetch";
    const title = address ? ["Fetching ", webLink(event.detail)] : [titleOf(event)];
    this.element = h("li", { class: "running" }, ...title, this.count, this.found);
  }

  take({ state, found }) {
    this.running += state === "started" ? 1 : -1;
    if (state === "started") this.times += 1;
    if (this.times > 1) this.count.textContent = ` × ${this.times}`;
    if (found.length) this.found.textContent = foundOf(found);
    if (state === "failed") this.found.textContent = "This failed.";
    if (state === "failed") this.element.classList.add("failed");
    this.element.classList.toggle("running", this.running > 0);
  }

  end() {
    this.element.classList.remove("running");
  }
}

function titleOf({ operation, stage, detail }) {
  if (operation === "search") return `Searching for “${detail}”`;
  if (operation === "search_web") return `Searching the web for “${detail}”`;
  if (operation === "fetch") return `Fetching ${detail}`;
  return STAGES[stage] ?? `Working: ${stage}`;
}

/** @param {string[]} titles One for each passage. */
function foundOf(titles) {
  const passages = new Map();
  for (const title of titles) passages.set(title, (passages.get(title) ?? 0) + 1);
  const named = [...passages].map(([title, times]) => (times > 1 ? `${title} (${times})` : title));
  return `Found ${named.join(" · ")}`;
}
