// Drawing. Text reaches the page by textContent only, because file names may hold markup.
const WIDE = 1000; // of a drawing over time; it is stretched to the available width
const SVG = "http://www.w3.org/2000/svg";

function put(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "colour") node.style.setProperty("--c", value);
    else if (name === "style") Object.assign(node.style, value);
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat(9).filter((child) => child !== null && child !== undefined));
  return node;
}
const h = (tag, attributes, ...children) => put(document.createElement(tag), attributes, children);
const s = (tag, attributes, ...children) => put(document.createElementNS(SVG, tag), attributes, children);
const swatch = (label) => h("i", { class: "swatch", colour: DATA.colours[label] });
const named = (label) => h("span", { class: "named" }, swatch(label), DATA.labels[label]);

// Numbers as text; their units stay on the same line.
const UNIT = "\u00a0";
const percent = (share) => {
  const decimals = share === 0 || share === 1 ? 0 : 1;
  return (share > 0 && share < 0.001 ? "<0.1" : (share * 100).toFixed(decimals)) + UNIT + "%";
};
const signed = (value) => (value < 0 ? "\u2212" : "+") + Math.abs(value).toFixed(2);
const count = (number, noun) => number.toLocaleString("en") + (noun ? " " + noun + (number === 1 ? "" : "s") : "");
const digits = DATA.duration_s < 600 ? 1 : 0; // of seconds

function clock(time_s, decimals = 0) {
  const units = 10 ** decimals;
  const whole = Math.round(time_s * units);
  const seconds = whole % (60 * units);
  const minutes = Math.floor(whole / (60 * units));
  const rest = (seconds / units).toFixed(decimals).padStart(decimals ? decimals + 3 : 2, "0");
  const hours = Math.floor(minutes / 60);
  return hours ? hours + ":" + String(minutes % 60).padStart(2, "0") + ":" + rest : minutes + ":" + rest;
}

// A time on an axis: of a recording from its beginning, of the live page before now.
const onAxis = (time_s, decimals) => {
  if (!DATA.live) return clock(time_s, decimals);
  const ago = DATA.duration_s - time_s;
  return ago ? "\u2212" + ago + UNIT + "s" : "now";
};

function lasting(time_s) {
  if (time_s < 59.95) return time_s.toFixed(time_s < 9.995 ? 2 : 1) + UNIT + "s";
  const seconds = Math.round(time_s);
  const two = (number) => String(number).padStart(2, "0");
  if (seconds < 3600) return [Math.floor(seconds / 60), "min", two(seconds % 60), "s"].join(UNIT);
  const minutes = Math.round(time_s / 60);
  return [Math.floor(minutes / 60), "h", two(minutes % 60), "min"].join(UNIT);
}

// Time along the drawings: [0, span] in ms to [0, WIDE].
const span_ms = Math.max(DATA.duration_s * 1000, 1);
const across = (time_ms) => Math.round((time_ms / span_ms) * WIDE * 100) / 100;
// A single image must be visible too; a recording of one image fills the width.
const LEAST = DATA.duration_s ? 1.2 : WIDE;
const atLeast = (left, right) => (right - left < LEAST ? [Math.min(left, WIDE - LEAST), LEAST] : [left, right - left]);
const STEPS_S = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400];

function ticks() {
  const step = STEPS_S.find((each) => DATA.duration_s / each <= 8) || Math.ceil(DATA.duration_s / 8);
  const marks = [];
  for (let i = 0; i * step <= DATA.duration_s * 1.005; i++) {
    const at = Math.min((i * step) / (span_ms / 1000), 1);
    const where = i === 0 ? " first" : at > 0.97 ? " last" : "";
    const text = onAxis(i * step, step < 1 ? 1 : 0);
    marks.push(h("span", { class: "tick" + where + (i % 2 ? " odd" : ""), style: { left: at * 100 + "%" } }, text));
  }
  return h("div", { class: "ticks", "aria-hidden": "true" }, marks);
}

// The stretches in which the face was visible: pairs of indices [from, to) between the gaps.
function stretches(series) {
  const edges = [0, ...series.breaks, series.t.length];
  return edges.slice(1).map((to, i) => [edges[i], to]);
}

function drawing(high, ...children) {
  const box = "0 0 " + WIDE + " " + high;
  return s("svg", { viewBox: box, preserveAspectRatio: "none", "aria-hidden": "true", focusable: "false" }, children);
}

// The eight probabilities on top of each other. Each is drawn down to the bottom, the highest first,
// so that no seams show between them.
function areas(face) {
  const { t, p } = face.series;
  const n = DATA.labels.length;
  const sums = new Float64Array(t.length);
  const paths = DATA.labels.map((_, label) => {
    for (let i = 0; i < t.length; i++) sums[i] = Math.min(sums[i] + p[i * n + label], 1000);
    const last = label === n - 1;
    const up = (i) => (last ? 0 : Math.round((1000 - sums[i]) / 2) / 5);
    let d = "";
    for (const [from, to] of stretches(face.series)) {
      const [left, width] = atLeast(across(t[from]), across(t[to - 1]));
      d += "M" + left + " 100V" + up(from);
      for (let i = from + 1; i < to; i++) d += "L" + across(t[i]) + " " + up(i);
      d += "H" + (left + width) + "V100Z";
    }
    return s("path", { d, fill: DATA.colours[label], "data-label": DATA.labels[label] });
  });
  return h("div", { class: "plot area unseen" }, drawing(100, paths.reverse()), [
    h("span", { class: "y top", style: { top: "0" } }, "100 %"),
    h("span", { class: "y", style: { top: "50%" } }, "50"),
    h("span", { class: "y bottom", style: { top: "100%" } }, "0"),
  ]);
}

function strip(face) {
  const paths = DATA.labels.map(() => "");
  for (const [start, end, label] of face.segments) {
    const [left, width] = atLeast(across(start), across(Math.min(end, span_ms)));
    paths[label] += "M" + left + " 0h" + width.toFixed(2) + "v10H" + left + "z";
  }
  const drawn = paths.map((d, label) => (d ? s("path", { d, fill: DATA.colours[label] }) : null));
  return h("div", { class: "plot strip unseen" }, drawing(10, drawn));
}

const AFFECT = [
  { key: "v", name: "valence", colour: "var(--ink)" },
  { key: "a", name: "arousal", colour: "var(--accent)" },
];

function affect(face) {
  const lines = AFFECT.map(({ key, colour }) => {
    let d = "";
    for (const [from, to] of stretches(face.series)) {
      const points = [];
      for (let i = from; i < to; i++) {
        points.push(across(face.series.t[i]) + " " + (100 - face.series[key][i] / 10).toFixed(1));
      }
      d += "M" + points.join("L") + (points.length === 1 ? "h" + LEAST : "");
    }
    return s("path", { class: "line", colour, d });
  });
  const zero = s("path", { class: "grid", d: "M0 100H" + WIDE });
  return h("div", { class: "plot affect" }, drawing(200, zero, lines), [
    h("span", { class: "y top", style: { top: "0" } }, "+1"),
    h("span", { class: "y", style: { top: "50%" } }, "0"),
    h("span", { class: "y bottom", style: { top: "100%" } }, "\u22121"),
  ]);
}

function timeline(face, label) {
  const cursor = h("div", { class: "cursor", hidden: "" });
  const keys = AFFECT.map(({ name, colour }) => h("span", {}, h("i", { class: "key", colour }), name));
  const node = h("div", { class: "timeline", tabindex: "0", role: "img", "aria-label": label }, [
    h("div", { class: "name" }, "Probability of each emotion"),
    areas(face),
    h("div", { class: "name" }, "Label"),
    strip(face),
    h("div", { class: "name" }, keys),
    affect(face),
    ticks(),
    cursor,
  ]);
  return { node, cursor };
}

// The plane: valence to the right, arousal upwards, in hundredths.
const NAMES_AT = {
  neutral: [5, 11, "start"], happy: [0, -7, "middle"], sad: [0, 13, "middle"], surprise: [7, 3, "start"],
  fear: [6, -3, "start"], anger: [-6, -2, "end"], contempt: [7, 4, "start"], disgust: [-5, 9, "end"],
};
const TRAIL_PARTS = 24;
const TRAIL_POINTS = 400; // about; with all of them the path would be a scribble

function trail(face) {
  const { t, v, a } = face.series;
  const paths = Array.from({ length: TRAIL_PARTS }, () => "");
  const several = Math.ceil(t.length / TRAIL_POINTS);
  const mean = (values, from, to) => values.slice(from, to).reduce((sum, each) => sum + each, 0) / (to - from);
  for (const [from, to] of stretches(face.series)) {
    let [part, point] = [-1, ""];
    for (let i = from; i < to; i += several) {
      const end = Math.min(i + several, to);
      const now = Math.min(Math.floor((t[i] / span_ms) * TRAIL_PARTS), TRAIL_PARTS - 1);
      const next = (mean(v, i, end) / 10).toFixed(1) + " " + (mean(a, i, end) / -10).toFixed(1);
      if (now !== part) paths[now] += "M" + (point || next);
      paths[now] += "L" + next;
      [part, point] = [now, next];
    }
  }
  return paths.map((d, i) => {
    const late = Math.round((i / (TRAIL_PARTS - 1)) * 100);
    const stroke = "color-mix(in oklab, var(--accent) " + late + "%, var(--early))";
    return d ? s("path", { class: "trail", d, style: { stroke } }) : null;
  });
}

function plane(face, label) {
  const stands = DATA.circumplex.map(([valence, arousal]) => [valence * 100, arousal * -100]);
  const places = stands.map(([cx, cy], i) => s("circle", { class: "place", cx, cy, r: 3.5, fill: DATA.colours[i] }));
  const names = DATA.labels.map((label, i) => {
    const [dx, dy, anchor] = NAMES_AT[label];
    return s("text", { x: stands[i][0] + dx, y: stands[i][1] + dy, "text-anchor": anchor }, label);
  });
  const { v, a } = face.series;
  const dot = (kind, i, r) => s("circle", { class: kind, cx: v[i] / 10, cy: -a[i] / 10, r });
  const now = s("circle", { class: "now", r: 4.5, cx: 0, cy: 0, visibility: "hidden" });
  const node = h("figure", { class: "plane" }, [
    s("svg", { viewBox: "-112 -112 224 228", role: "img", "aria-label": label }, [
      s("rect", { class: "frame", x: -100, y: -100, width: 200, height: 200, rx: 2 }),
      s("path", { class: "axis", d: "M-100 0H100M0 -100V100" }),
      places,
      trail(face),
      names,
      dot("start", 0, 3.5),
      dot("end", v.length - 1, 4),
      now,
      s("text", { x: 0, y: -104, "text-anchor": "middle" }, "excited"),
      s("text", { x: 0, y: 111, "text-anchor": "middle" }, "calm"),
      s("text", { x: -104, y: 0, "text-anchor": "middle", transform: "rotate(-90 -104 0)" }, "unpleasant"),
      s("text", { x: 104, y: 0, "text-anchor": "middle", transform: "rotate(90 104 0)" }, "pleasant"),
    ]),
    h("figcaption", { class: "ramp" }, onAxis(0), h("i"), onAxis(DATA.duration_s)),
  ]);
  return { node, now };
}
