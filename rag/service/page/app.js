/** The page: signs in, finds out what is served, and shows one of two views. */

import { call, key, signIn, whenKeyIsNeeded } from "./api.js";
import { startAsking } from "./ask.js";
import { Collections } from "./collections.js";
import { asked } from "./dialogs.js";
import { startDocuments } from "./documents.js";
import { byId, h } from "./dom.js";
import { failureNotice } from "./failures.js";
import { startReader } from "./reader.js";

whenKeyIsNeeded(() =>
  asked({
    title: "Sign in",
    text: key.get()
      ? "The service does not take the API key any more that you signed in with."
      : "The service asks for an API key. It is kept until you close this tab, and nowhere else.",
    action: "Sign in",
    field: { label: "API key", type: "password", autocomplete: "current-password" },
    run: async (secret) => {
      await signIn(secret.trim());
      byId("sign-out").hidden = false;
    },
  }),
);

byId("sign-out").addEventListener("click", () => {
  key.clear();
  location.reload();
});

async function start() {
  startReader();
  let service, collections;
  try {
    service = await call("/v1/service");
    collections = await Collections.load(service);
  } catch (error) {
    const again = h("button", { type: "button", onclick: () => location.reload() }, "Try again");
    byId("trouble").replaceChildren(failureNotice(error, again));
    return;
  }
  byId("sign-out").hidden = !key.get();
  startAsking(service, collections);
  startDocuments(service, collections);
  const show = () => {
    const place = new URLSearchParams(location.hash.slice(1));
    collections.choose(place.get("collection"));
    showView(place.get("view") === "documents" ? "documents" : "ask", collections.current);
  };
  addEventListener("hashchange", show);
  collections.addEventListener("change", () => showLinks(collections.current));
  show();
}

/** @param {"ask" | "documents"} view @param {object | null} collection */
function showView(view, collection) {
  showLinks(collection);
  for (const each of ["ask", "documents"]) {
    byId(each).hidden = each !== view;
    if (each === view) byId(`to-${each}`).setAttribute("aria-current", "page");
    else byId(`to-${each}`).removeAttribute("aria-current");
  }
}

/** @param {object | null} collection */
function showLinks(collection) {
  const place = collection ? `collection=${encodeURIComponent(collection.name)}` : "";
  byId("to-ask").href = `#${place}`;
  byId("to-documents").href = `#${place}&view=documents`;
}

start();
