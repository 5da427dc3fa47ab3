// What makes the pages live and handy. Everything works without it, by links and forms.

const SLOW_REFRESH_MS = 30_000;
// Deliveries tell of events and are none themselves: while one is pending, it is looked at often.
const QUICK_REFRESH_MS = 3_000;
// Many events at once are one refresh; the chance in it keeps many open pages from asking together.
const GATHER_MS = 250;
const QUIET_MS = 1_000;
// Before a stream that was refused for good is asked for again: doubled each time.
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;

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
    const wasLost = isLost;
    isLost = response.status >= 500;
    if (wasLost && !isLost) listenAgain();
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
let again = 0;
let wait = FIRST_WAIT_MS;
// Told to a new source, which knows nothing of the one before, so that it misses nothing.
let lastEventId = "";

function listen() {
  clearTimeout(again);
  source?.close();
  const resumed = lastEventId && `?lastEventId=${encodeURIComponent(lastEventId)}`;
  const mine = (source = new EventSource(eventsUrl + resumed));
  source.onopen = () => {
    wait = FIRST_WAIT_MS;
    say("live");
    // Whatever changed while nobody listened is on the page that is fetched now.
    refreshSoon();
  };
  // The browser connects again by itself, unless it was refused for good: with 502 by a proxy while
  // the service restarts, or with 400 for an event that is not kept any more.
  source.onerror = () => {
    if (mine !== source) return;
    say("connecting again");
    if (source.readyState === EventSource.CLOSED) {
      if (wait > LONGEST_WAIT_MS / 2) lastEventId = "";
      clearTimeout(again);
      again = setTimeout(listenWhileSeen, wait * (0.5 + Math.random() / 2));
      wait = Math.min(2 * wait, LONGEST_WAIT_MS);
    }
    // Whether the service is away or only this stream has ended, a refresh finds out.
    refreshSoon();
  };
  for (const type of [...document.body.dataset.types.split(" "), "message"]) {
    source.addEventListener(type, (event) => {
      lastEventId = event.lastEventId;
      refreshSoon();
      announce(event.data);
    });
  }
}

// Nobody sees a page in the background, and browsers allow a handful of connections to one server.
function listenWhileSeen() {
  clearTimeout(again);
  source?.close();
  if (!document.hidden) listen();
}

// The service is back before the time has come to try it.
function listenAgain() {
  wait = FIRST_WAIT_MS;
  if (source?.readyState === EventSource.CLOSED) listenWhileSeen();
}

// --- Time that is left ------------------------------------------------------------------------------

// By the service's clock: what it says is left counts from when the page came.
const ends = new WeakMap();

/** The same words as the service's. */
function timeLeft(seconds) {
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  if (hours) return `${hours} h ${minutes % 60} min`;
  return minutes ? `${minutes} min` : `${seconds} s`;
}

function countDown() {
  for (const place of document.querySelectorAll("[data-left]")) {
    const said = place.dataset.left;
    if (ends.get(place)?.said !== said) ends.set(place, { said, at: performance.now() + 1_000 * Number(said) });
    const left = Math.max(0, Math.floor((ends.get(place).at - performance.now()) / 1_000));
    const text = timeLeft(left);
    if (place.textContent !== text) place.textContent = text;
    // From here on the page says something else.
    if (!left && Number(said)) refreshSoon();
  }
}

countDown();
setInterval(countDown, 1_000);

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
