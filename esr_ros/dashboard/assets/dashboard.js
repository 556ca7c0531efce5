// The live page: one WebSocket, the newest state and pictures, and a minute of values per face.
const SILENT_S = 2; // without messages: their camera, or the dashboard itself, is silent
const GAP_MS = 1000; // without a face: its lines are interrupted
const CARDS = 6; // per camera
const LEVELS = ["OK", "WARN", "ERROR", "STALE"];
const LONGEST_RETRY_MS = 8000;
const still = matchMedia("(prefers-reduced-motion: reduce)");
const byId = (id) => document.getElementById(id);

function write(node, text) { // only a change, which is what screen readers notice
  if (node.textContent !== text) node.textContent = text;
}

// Announcements: of labels, and of a connection that is lost or back; the newest ones, every 2 s.
const news = new Map();
setInterval(() => {
  if (news.size) byId("announcer").textContent = [...news.values()].join(". ");
  news.clear();
}, 2000);

// A camera: its picture, figures and faces.
const cameras = new Map();

function camera(topic) {
  if (cameras.has(topic)) return cameras.get(topic);
  const canvas = h("canvas", { width: 640, height: 480, role: "img", "aria-label": "Annotated picture of " + topic });
  const blank = h("p", {}, "Waiting for the annotated image");
  const tiles = new Map(["Results", "Latency", "Dropped", "Faces", "State"].map((name) =>
    [name, { value: h("dd", {}, "\u2013"), note: h("dd", {}, "") }]));
  const line = h("p", { class: "names" }, "Waiting for messages");
  const cards = h("div", { class: "cards" });
  const more = h("p", { class: "small quiet" }, "");
  const node = h("section", { class: "camera", "aria-label": "Camera " + topic }, [
    h("h2", {}, topic),
    line,
    h("div", { class: "watch" }, [
      h("div", { class: "picture" }, canvas, blank),
      h("dl", { class: "tiles" }, [...tiles].map(([name, { value, note }]) =>
        h("div", { class: "card" }, h("dt", {}, name), value, note))),
    ]),
    h("ul", { class: "legend", "aria-label": "Colours" }, DATA.labels.map((_, i) => h("li", {}, named(i)))),
    cards,
    more,
  ]);
  const made = { topic, node, canvas, blank, tiles, line, cards, more, faces: new Map(), decoding: false, next: null, shown_ms: 0 };
  cameras.set(topic, made);
  const after = [...cameras.keys()].sort().find((each) => each > topic);
  byId("cameras").insertBefore(node, after ? cameras.get(after).node : null);
  return made;
}

// The newest picture only: those that arrive while one is decoded replace each other.
async function paint(seen) {
  if (seen.decoding) return;
  seen.decoding = true;
  while (seen.next) {
    const blob = seen.next;
    seen.next = null;
    if (still.matches && performance.now() - seen.shown_ms < 1000) continue;
    const bitmap = await createImageBitmap(blob).catch(() => null); // not an image
    if (!bitmap) continue;
    if (seen.canvas.width !== bitmap.width || seen.canvas.height !== bitmap.height) {
      [seen.canvas.width, seen.canvas.height] = [bitmap.width, bitmap.height];
    }
    seen.canvas.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    seen.shown_ms = performance.now();
    seen.blank.hidden = true;
  }
  seen.decoding = false;
}

function onPicture(buffer) {
  const length = new DataView(buffer).getUint16(0);
  const seen = camera(new TextDecoder().decode(new Uint8Array(buffer, 2, length)));
  seen.next = new Blob([new Uint8Array(buffer, 2 + length)], { type: "image/jpeg" });
  paint(seen);
}

// Samples of faces: [id, label, eight probabilities, valence, arousal] in thousandths.
function add({ topic, t, faces }) {
  const seen = camera(topic);
  for (const [id, label, ...values] of faces) {
    if (!seen.faces.has(id)) seen.faces.set(id, { id, samples: [], card: null });
    const face = seen.faces.get(id);
    const last = face.samples[face.samples.length - 1];
    if (last && last.t >= t) continue;
    face.samples.push({ t, label, values });
    if (!last || last.label !== label) news.set(topic + id, "Face " + id + ": " + DATA.labels[label]);
  }
}

// The values of a face as the charts take them, from the beginning of the window.
function chartOf(face, begin_ms) {
  const n = DATA.labels.length;
  const series = { t: [], p: [], v: [], a: [], labels: [], breaks: [] };
  const segments = [];
  let before = null;
  for (const { t, label, values } of face.samples) {
    const at = t - begin_ms;
    const isBroken = before !== null && at - before > GAP_MS;
    if (isBroken) series.breaks.push(series.t.length);
    const last = segments[segments.length - 1];
    if (last && !isBroken) last[1] = at;
    if (!last || isBroken || last[2] !== label) segments.push([at, at, label]);
    before = at;
    series.t.push(at);
    series.p.push(...values.slice(0, n));
    series.v.push(values[n]);
    series.a.push(values[n + 1]);
    series.labels.push(label);
  }
  return { series, segments };
}

function makeCard(face) {
  const chart = chartOf(face, face.samples[0].t);
  const line = timeline(chart, "").node;
  line.removeAttribute("tabindex"); // unlike the report's, it has no values to point at
  const map = plane(chart, "").node;
  const label = h("span", { class: "label" });
  const affects = h("span", { class: "quiet" });
  const bars = DATA.labels.map((name, i) => {
    const bar = h("div", { colour: DATA.colours[i] });
    const share = h("td", {}, "");
    return { bar, share, row: h("tr", {}, h("th", { scope: "row" }, name), h("td", { class: "bar" }, h("div", { class: "track" }, bar)), share) };
  });
  const table = h("table", { class: "bars", "aria-label": "Probabilities of face " + face.id }, h("tbody", {}, bars.map(({ row }) => row)));
  const mark = h("i", { class: "swatch" });
  const node = h("article", { class: "face card", "aria-label": "Face " + face.id, "data-face": face.id }, [
    h("header", {}, h("h3", { class: "now" }, "Face " + face.id, mark, label, affects)),
    h("div", { class: "parts" }, h("div", {}, table), line, map),
  ]);
  return { node, line, map, label, affects, bars, mark };
}

const newest = (face) => face.samples[face.samples.length - 1];
const isGone = (face, now_ms) => now_ms - newest(face).t > SILENT_S * 1000;

function drawFace(face, now_ms) {
  const begin_ms = now_ms - DATA.duration_s * 1000;
  if (!face.card) face.card = makeCard(face);
  const { node, line, map, label, affects, bars, mark } = face.card;
  const { t, label: current, values } = newest(face);
  const n = DATA.labels.length;
  node.classList.toggle("gone", isGone(face, now_ms));
  write(label, DATA.labels[current] + " " + percent(values[current] / 1000));
  mark.style.setProperty("--c", DATA.colours[current]);
  write(affects, isGone(face, now_ms) ? "last seen " + Math.round((now_ms - t) / 1000) + UNIT + "s ago"
    : "valence " + signed(values[n] / 1000) + ", arousal " + signed(values[n + 1] / 1000));
  bars.forEach(({ bar, share, row }, i) => {
    bar.style.width = values[i] / 10 + "%";
    write(share, percent(values[i] / 1000));
    row.classList.toggle("top", i === current);
  });
  const chart = chartOf(face, begin_ms);
  const text = "Face " + face.id + " in the last minute; now " + label.textContent;
  line.setAttribute("aria-label", text + ": probabilities, label, valence and arousal");
  [areas(chart), strip(chart), affect(chart)].forEach((plot, i) => line.querySelectorAll(".plot")[i].replaceWith(plot));
  const drawn = plane(chart, "").node.querySelector("svg");
  map.querySelector("svg").replaceChildren(...drawn.childNodes);
  map.querySelector("svg").setAttribute("aria-label", text + " in the plane of valence and arousal, " + affects.textContent);
}

function drawCamera(seen, now_ms) {
  for (const [id, face] of seen.faces) {
    while (face.samples.length && face.samples[0].t < now_ms - DATA.duration_s * 1000) face.samples.shift();
    if (face.samples.length) continue;
    if (face.card) face.card.node.remove();
    seen.faces.delete(id);
  }
  // Visible faces by their ids, then the others, the last seen first.
  const gone_ms = (face) => (isGone(face, now_ms) ? now_ms - newest(face).t : 0);
  const order = [...seen.faces.values()].sort((a, b) => gone_ms(a) - gone_ms(b) || a.id - b.id);
  order.forEach((face, i) => {
    if (i < CARDS) drawFace(face, now_ms);
    else if (face.card) face.card.node.remove();
    if (i < CARDS && seen.cards.children[i] !== face.card.node) {
      seen.cards.insertBefore(face.card.node, seen.cards.children[i] || null);
    }
  });
  write(seen.more, order.length > CARDS ? "and " + count(order.length - CARDS, "more face") : "");
}

function figure(seen, name, value, note = "") {
  const tile = seen.tiles.get(name);
  write(tile.value, value);
  write(tile.note, note);
}

function drawFigures(seen, of, status, later_s) {
  const silent_s = of.silent_s === null ? null : of.silent_s + later_s;
  const isSilent = silent_s === null || silent_s > SILENT_S;
  const values = status ? status.values : {};
  const known = (text, name) => (values[name] === undefined || values[name] === "nan" ? "" : text + values[name]);
  seen.node.classList.toggle("silent", isSilent);
  write(seen.line, silent_s === null ? "Waiting for messages" : isSilent ? "No messages since " + Math.round(silent_s) + UNIT + "s" : "Receiving");
  figure(seen, "Results", isSilent ? "\u2013" : of.rate_hz.toFixed(1) + UNIT + "Hz", known("images: ", "input hz") + (status ? " Hz" : ""));
  const p50 = known("node: p50 ", "latency p50 ms");
  const toHere = of.latency_ms === null || isSilent ? "\u2013" : of.latency_ms.toFixed(1) + UNIT + "ms";
  figure(seen, "Latency", toHere, p50 ? p50 + ", p99 " + values["latency p99 ms"] + UNIT + "ms"
    : of.latency_ms === null && !isSilent ? "the stamps are of another clock" : "from stamp to dashboard");
  figure(seen, "Dropped", (values.dropped || "\u2013").replace("%", UNIT + "%"), known("since start: ", "stale") + known(" stale, ", "missed") + (status ? " missed" : ""));
  figure(seen, "Faces", isSilent ? "\u2013" : String(of.faces), "in the newest image");
  figure(seen, "State", status ? LEVELS[status.level] : "\u2013", status ? status.message : "no diagnostics of this camera");
  if (!of.picture) write(seen.blank, "No annotated image is published");
}

const folds = new Map();

function drawStatuses(statuses) {
  byId("diagnostics").hidden = !statuses.length;
  for (const [name, fold] of folds) {
    if (statuses.some((each) => each.name === name)) continue;
    fold.node.remove();
    folds.delete(name);
  }
  for (const { name, level, message, values } of statuses) {
    if (!folds.has(name)) {
      const [lamp, title, body] = [h("i", { class: "lamp" }), h("span", {}), h("tbody", {})];
      const node = h("details", { class: "card status" }, h("summary", {}, lamp, title), h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": name },
        h("table", { class: "figures" }, body)));
      folds.set(name, { node, lamp, title, body });
      byId("statuses").append(node);
    }
    const fold = folds.get(name);
    fold.lamp.className = "lamp level" + level;
    write(fold.title, LEVELS[level] + ": " + name + ", " + message);
    const content = JSON.stringify(values);
    if (fold.node.open && fold.content !== content) { // or text could not be selected
      fold.content = content;
      fold.body.replaceChildren(...Object.entries(values).map(([key, value]) => h("tr", {}, h("th", { scope: "row" }, key), h("td", {}, value))));
    }
  }
}

// The notices of the nodes for the people in view, with their topics if there are several.
const notices = new Map();

function drawNotices(found) {
  for (const [topic, { node }] of notices) {
    if (found.some((each) => each.topic === topic)) continue;
    node.remove();
    notices.delete(topic);
  }
  for (const { topic, active, text, model, since } of found) {
    if (!notices.has(topic)) {
      const [line, state] = [h("span", {}), h("span", { class: "quiet" })];
      const node = h("li", {}, line, " ", state);
      notices.set(topic, { node, line, state });
      byId("notices").append(node);
    }
    const notice = notices.get(topic);
    const time = new Date(since * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
    write(notice.line, (found.length > 1 ? topic + ": " : "") + (active ? text : "Images are not analyzed."));
    write(notice.state, (active ? "Active" : "Inactive") + " since " + time + ", network " + model);
  }
}

// The connection.
let link = null;
let isPaused = false;
let retry_ms = 500;
let timer = 0;
let latest = null; // the newest state, and the time of its arrival
let arrived_ms = 0;
let announced = "";

function report(text, level, kind = text) {
  write(byId("connection"), text);
  byId("lamp").className = "lamp level" + level;
  if (kind !== announced && announced) news.set("connection", kind);
  announced = kind;
}

function onMessage({ data }) {
  if (typeof data !== "string") return onPicture(data);
  const message = JSON.parse(data);
  if (message.history) {
    for (const seen of cameras.values()) for (const face of seen.faces.values()) face.samples = [];
    message.history.forEach(add);
  } else {
    if (latest && message.now < latest.now) { // of a machine that has started again
      for (const seen of cameras.values()) for (const face of seen.faces.values()) face.samples = [];
    }
    message.samples.forEach(add);
    [latest, arrived_ms] = [message, performance.now()];
  }
}

function connect() {
  clearTimeout(timer);
  if (link || isPaused || document.hidden) return;
  const address = new URL("ws" + location.search, location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const own = (link = new WebSocket(address));
  own.binaryType = "arraybuffer";
  own.onopen = () => { retry_ms = 500; };
  own.onmessage = (event) => {
    if (link !== own) return;
    onMessage(event);
    if (own.readyState === WebSocket.OPEN) own.send(""); // ready for the next ones
  };
  own.onclose = () => {
    if (link !== own) return;
    link = null;
    report("No connection to the dashboard; trying again", 2);
    timer = setTimeout(connect, retry_ms);
    retry_ms = Math.min(retry_ms * 2, LONGEST_RETRY_MS);
  };
}

function disconnect() {
  clearTimeout(timer);
  const own = link;
  link = null;
  if (own) own.close();
}

function draw() {
  if (!latest) return;
  const later_ms = performance.now() - arrived_ms;
  if (link && link.readyState === WebSocket.OPEN) {
    const isSilent = (of) => of.silent_s === null || of.silent_s > SILENT_S;
    const silent = latest.cameras.filter(isSilent).length;
    if (later_ms > SILENT_S * 1000) report("The dashboard does not answer", 2);
    else if (!latest.cameras.length) report("No emotion topic is published; start emotion_node", 1);
    else if (silent) report("No messages from " + silent + " of " + count(latest.cameras.length, "camera"), 1);
    else report("Live, " + count(latest.cameras.length, "camera"), 0, "Live");
  }
  const now_ms = latest.now + later_ms;
  const statuses = new Map(latest.statuses.map((each) => [each.name, each]));
  for (const [topic, seen] of cameras) {
    const of = latest.cameras.find((each) => each.topic === topic);
    if (of) drawFigures(seen, of, statuses.get(of.status), later_ms / 1000);
    if (of) drawCamera(seen, now_ms);
    if (of) continue;
    seen.node.remove();
    cameras.delete(topic);
  }
  latest.cameras.forEach(({ topic }) => camera(topic));
  drawStatuses(latest.statuses);
  drawNotices(latest.notices);
}

function tick() {
  if (!document.hidden && !isPaused) draw();
  setTimeout(tick, still.matches ? 1000 : 200);
}

byId("pause").addEventListener("click", () => {
  isPaused = !isPaused;
  write(byId("pause"), isPaused ? "Continue" : "Pause");
  if (isPaused) disconnect();
  else connect();
  report(isPaused ? "Paused; nothing is received" : "Connecting", 3);
});
document.addEventListener("visibilitychange", () => (document.hidden ? disconnect() : connect()));
connect();
tick();
