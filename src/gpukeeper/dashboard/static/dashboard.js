// What makes the pages live and handy. Everything works without it, by links and forms.

const SLOW_REFRESH_MS = 30_000;
// Deliveries tell of events and are none themselves: while one is pending, it is looked at often.
const QUICK_REFRESH_MS = 3_000;
// Many events at once are one refresh; the chance in it keeps many open pages from asking together.
const GATHER_MS = 250;
const QUIET_MS = 1_000;

const $ = (selector, root = document) => root.querySelector(selector);
document.documentElement.classList.add("scripted");

// --- Pages that change by themselves -------------------------------------------------------------

const eventsUrl = document.body.dataset.events;
let pending = 0;
let refreshing = false;
let refreshedAt = 0;
let isLost = false;

function refreshSoon() {
  if (pending) return;
  const quiet = Math.max(0, refreshedAt + QUIET_MS - performance.now());
  pending = setTimeout(refresh, quiet + GATHER_MS * (0.5 + Math.random()));
}

async function refresh() {
  pending = 0;
  if (refreshing) return refreshSoon();
  refreshing = true;
  try {
    const response = await fetch(location.href, { headers: { accept: "text/html" } });
    if (response.redirected) return location.assign(response.url);
    isLost = response.status >= 500;
    if (!isLost) morph($("#main"), $("#main", parse(await response.text())));
  } catch {
    isLost = true;
  } finally {
    $("#lost").hidden = !isLost;
    refreshing = false;
    refreshedAt = performance.now();
  }
}

const parse = (text) => new DOMParser().parseFromString(text, "text/html");

/** Make `old` equal to `fresh` and touch nothing that is equal already, so that focus stays. */
function morph(old, fresh) {
  if (!fresh || old.isEqualNode(fresh) || old.dataset?.keep !== undefined) return;
  if (old.nodeName !== fresh.nodeName || old.id !== fresh.id) return old.replaceWith(fresh);
  if (old.nodeType !== Node.ELEMENT_NODE) {
    old.nodeValue = fresh.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const known = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
  let place = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const same = child.id ? known.get(child.id) : place;
    if (!same || (!child.id && same.id)) {
      old.insertBefore(child, place);
      flash(child);
      continue;
    }
    if (same !== place) old.insertBefore(same, place);
    const next = same.nextSibling;
    const text = same.textContent;
    morph(same, child);
    if (same.isConnected && same.nodeName === "TR" && statusOf(text) !== statusOf(same.textContent)) flash(same);
    place = next;
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

// Ages and costs change all the time; a row is shown as changed when something else did.
const statusOf = (text) => text.replace(/[\d.$,]+|\b(s|min|h|d)\b/g, "");

function flash(node) {
  if (node.nodeName !== "TR") return;
  node.classList.add("changed");
  setTimeout(() => node.classList.remove("changed"), 2_500);
}

function say(text) {
  const live = $("#live");
  live.textContent = text;
  live.classList.toggle("on", text === "live");
}

let source;

function listen() {
  source = new EventSource(eventsUrl);
  source.onopen = () => {
    say("live");
    refreshSoon();
  };
  // The browser connects again by itself, unless it was refused for good.
  source.onerror = () => {
    say(source.readyState === EventSource.CLOSED ? "refreshed every 30 s" : "connecting again");
    // Whether the service is away or only this stream has ended, a refresh finds out.
    refreshSoon();
  };
  for (const type of [...document.body.dataset.types.split(" "), "message"]) {
    source.addEventListener(type, (event) => {
      refreshSoon();
      announce(event.data);
    });
  }
}

// Nobody sees a page in the background, and browsers allow a handful of connections to one server.
function listenWhileSeen() {
  source?.close();
  if (!document.hidden) listen();
}

/** Tell those who cannot see the row change. */
function announce(text) {
  try {
    const { instance } = JSON.parse(text).data;
    if (instance) $("#news").textContent = `${instance.name} is ${instance.status}`;
  } catch {
    // Not every event is about an instance; the page itself has what is new.
  }
}

if (eventsUrl) {
  listenWhileSeen();
  document.addEventListener("visibilitychange", listenWhileSeen);
  addEventListener("pagehide", () => source?.close());
  addEventListener("pageshow", (event) => event.persisted && listenWhileSeen());
  setInterval(() => {
    const isQuick = isLost || $("[data-quick] .status.coming") !== null;
    const isDue = performance.now() - refreshedAt > (isQuick ? 0 : SLOW_REFRESH_MS);
    if (isDue && !document.hidden) refreshSoon();
  }, QUICK_REFRESH_MS);
}

// --- Asking back in a dialog instead of on a page of its own ---------------------------------------

const dialog = $("#dialog");

async function confirmIn(link) {
  const form = await fetch(link.href)
    .then(async (response) => (response.redirected ? null : $(".confirm", parse(await response.text()))))
    .catch(() => null);
  // Whatever keeps the dialog from being shown, the page behind the link tells of.
  if (!form) return location.assign(link.href);
  dialog.replaceChildren(form);
  dialog.showModal();
  $("[data-close]", dialog).focus();
}

// --- The password, only when it is asked for -------------------------------------------------------

async function showPassword(link) {
  const place = link.parentElement;
  const { ok, body } = await fetch(link.dataset.password)
    .then(async (response) => ({ ok: response.ok, body: await response.json() }))
    .catch(() => ({ ok: false, body: { detail: "The service did not answer." } }));
  if (!ok) {
    // The link stays, so that it can be tried again.
    const reason = Object.assign(document.createElement("span"), { className: "reason", textContent: body.detail });
    reason.setAttribute("role", "alert");
    place.replaceChildren(link, reason);
    link.focus();
    return;
  }
  const code = document.createElement("code");
  code.textContent = body.sshPassword || "Novita gives none";
  const button = document.createElement("button");
  Object.assign(button, { type: "button", className: "small", textContent: "Copy" });
  button.dataset.copy = body.sshPassword;
  button.setAttribute("aria-label", "Copy the password");
  place.replaceChildren("Password ", code, " ", button);
  button.focus();
}

async function copy(button) {
  await navigator.clipboard.writeText(button.dataset.copy);
  const before = button.textContent;
  button.textContent = "Copied";
  $("#news").textContent = "Copied";
  setTimeout(() => (button.textContent = before), 1_500);
}

document.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  const link = event.target.closest("[data-confirm], [data-password], [data-copy], #dialog [data-close]");
  if (!link) return;
  event.preventDefault();
  if (link.dataset.copy !== undefined) copy(link);
  else if (link.dataset.password) showPassword(link);
  else if (link.dataset.confirm !== undefined) confirmIn(link);
  else dialog.close();
});

// --- The order form --------------------------------------------------------------------------------

const order = $("#order");

let lastAsked = 0;

async function showPrices() {
  const asked = ++lastAsked;
  const fields = new URLSearchParams(new FormData(order));
  fields.set("intent", "prices");
  const fresh = await fetch(order.action, { method: "POST", body: fields })
    .then(async (response) => $("#offers", parse(await response.text())))
    .catch(() => null);
  // Whoever has asked for something else in the meantime waits for that.
  if (asked !== lastAsked) return;
  if (!fresh) {
    $("#estimate").textContent = "The prices are not known: the service did not answer";
    return;
  }
  showOffers(fresh);
  estimate();
}

/** Replace all offers: a choice is a product, and no place in the list. */
function showOffers(fresh) {
  const old = $("#offers");
  const wasFocused = old.contains(document.activeElement);
  const product = new FormData(order).get("productName");
  old.replaceWith(fresh);
  for (const radio of fresh.querySelectorAll("input[type=radio]")) {
    radio.checked = radio.value === product;
  }
  if (wasFocused) $("input:checked, input", fresh)?.focus();
}

function estimate() {
  const chosen = $("input[name=productName]:checked", order);
  const bold = (text) => Object.assign(document.createElement("b"), { textContent: text });
  $("#estimate").replaceChildren(
    ...(chosen
      ? ["About ", bold(chosen.dataset.hour), " per hour, ", bold(chosen.dataset.day), " a day while it runs"]
      : ["Choose a product to see what it costs"]),
  );
}

order?.addEventListener("change", (event) => {
  if (event.target.dataset.prices !== undefined) showPrices();
  if (event.target.name === "productName") estimate();
});

// A second click while the first is under way; the hidden key would make it harmless all the same.
document.addEventListener("submit", (event) => {
  const button = $("[data-once]", event.target);
  if (button && !event.submitter?.name) {
    button.disabled = true;
    button.textContent = "Ordering…";
  }
});
addEventListener("pageshow", () => {
  const button = $("[data-once]");
  if (button?.disabled) location.reload();
});

$("#refusal")?.focus();
