/** What an answer cost. */

import { h } from "./dom.js";
import { count, counted, seconds } from "./wording.js";

const COLUMNS = [
  ["Computed", (usage) => count(usage.input_tokens - usage.cached_tokens)],
  ["Cached", (usage) => count(usage.cached_tokens)],
  ["Written", (usage) => count(usage.output_tokens)],
  ["Searches", (usage) => count(usage.searches)],
  ["Seconds", (usage) => usage.seconds.toFixed(2)],
];

/** @param {{usage: object, stages: object[], seconds: number, pipeline: string}} reply */
export function costOf({ usage, stages, seconds: taken, pipeline }) {
  const computed = usage.input_tokens - usage.cached_tokens;
  const parts = [
    `${counted(usage.input_tokens, "token")} read`,
    usage.cached_tokens > 0 && `${count(computed)} of them computed`,
    `${count(usage.output_tokens)} written`,
    counted(usage.searches, "search", "searches"),
    usage.fetches > 0 && counted(usage.fetches, "page"),
    usage.cost > 0 && `cost ${usage.cost.toPrecision(2)}`,
    seconds(taken),
  ];
  return h(
    "details",
    { class: "cost" },
    h("summary", {}, parts.filter(Boolean).join(" · ")),
    h("div", { class: "scroll", role: "region", "aria-label": "Cost by stage", tabindex: "0" },
      table(pipeline, usage, stages)),
  );
}

function table(pipeline, usage, stages) {
  const row = (name, used) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, name),
      ...COLUMNS.map(([, value]) => h("td", {}, value(used))),
    );
  const heads = COLUMNS.map(([name]) => h("th", { scope: "col" }, name));
  return h(
    "table",
    {},
    h("caption", {}, `Pipeline ${pipeline}: tokens and time of each stage`),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Stage"), ...heads)),
    h("tbody", {}, ...stages.map(({ stage, usage: used }) => row(stage, used))),
    h("tfoot", {}, row("All", usage)),
  );
}
