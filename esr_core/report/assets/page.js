// The page, from top to bottom.
const title = (face) => "Face " + face.face_id;
const several = DATA.feeds.length + DATA.more_feeds > 1;
const most = (shares) => shares.reduce((best, each) => (each.share > best.share ? each : best));
const known = (value, format) => (value === null ? null : format(value));
const place = (label) => DATA.labels.indexOf(label);

function header() {
  const sources = DATA.feeds.map((feed) => feed.source).filter((source) => source !== DATA.title);
  const more = DATA.more_feeds ? ", and " + DATA.more_feeds + " more" : "";
  return h("header", {}, [
    h("p", { class: "kicker" }, "Emotions in a recording"),
    h("h1", {}, DATA.title),
    sources.length ? h("p", { class: "names" }, "From " + sources.join(", ") + more) : null,
    DATA.began ? h("p", { class: "names" }, "Began " + DATA.began) : null,
    tiles(),
  ]);
}

function tiles() {
  const shown = DATA.faces_in_all ? most(DATA.shares) : null;
  const { rate_hz: rate } = DATA.feeds[0];
  const rates = several ? "of " + count(DATA.feeds.length + DATA.more_feeds, "source") : rate === null ? "" : rate.toFixed(1) + " per second";
  const { longest_s, longest_at_s } = DATA;
  const gap = longest_s === null ? ["\u2013", "a single image"]
    : longest_s > DATA.gap_s ? [lasting(longest_s), "without an image, at " + clock(longest_at_s, digits)]
      : ["none", "longer than " + lasting(DATA.gap_s)];
  const each = [
    ["Duration", lasting(DATA.duration_s), "from first to last image"],
    ["Images", count(DATA.images), rates],
    ["Faces", count(DATA.faces_in_all), "visible in " + percent(1 - DATA.without_face / DATA.images) + " of the images"],
    ["Mostly", shown ? shown.label : "\u2013", shown ? percent(shown.share) + " of the time with a face" : "no face"],
    ["Changes", count(DATA.changes_in_all), "from one label to another"],
    ["Longest gap", ...gap],
  ];
  return h("dl", { class: "tiles" }, each.map(([name, value, note]) =>
    h("div", { class: "card" }, h("dt", {}, name), h("dd", {}, big(value)), note ? h("dd", {}, note) : null)));
}

// Numbers large, and their units small.
const big = (value) => value.split(/(?<=[\d.])\u00a0|\u00a0(?=\d)/).map((part, i) => (i % 2 ? h("small", {}, part) : part));

function legend() {
  return h("ul", { class: "legend", "aria-label": "Colours" }, [
    DATA.labels.map((_, i) => h("li", {}, named(i))),
    h("li", {}, h("i", { class: "swatch unseen" }), "not visible"),
  ]);
}

function faces() {
  const pointing = "Point at a time, or use the arrow keys, to show its values and the position of every face. ";
  const thinned = "Lines and areas show means over equal periods, at most " + count(DATA.points) +
    " per face; changes and totals use every image.";
  return h("section", { "aria-labelledby": "faces" }, [
    h("h2", { id: "faces" }, "Emotions over time"),
    DATA.faces.length
      ? [h("p", {}, h("span", { class: "screen" }, pointing), DATA.thinned ? thinned : null), legend(), DATA.faces.map(card), others()]
      : h("p", {}, "No face was detected in any image."),
  ]);
}

const views = [];

function card(face) {
  const top = most(face.shares);
  const facts = [
    "visible from " + clock(face.first_s, digits) + " to " + clock(face.last_s, digits) + ", " + lasting(face.seen_s) + " in total",
    count(face.images, "image"),
    "mostly " + top.label + " (" + percent(top.share) + ")",
    count(face.changes, "change"),
  ];
  const line = timeline(face, title(face) + " over time: " + facts.join(", "));
  const map = plane(face, title(face) + " in the plane of valence and arousal, from its first image to its last");
  const view = { face, line: line.node, cursor: line.cursor, now: map.now };
  views.push(view);
  listen(view);
  const picture = face.picture ? h("img", { src: face.picture, alt: "Picture of face " + face.face_id }) : null;
  const heading = h("h3", {}, title(face), several ? h("span", { class: "quiet" }, " in " + face.source) : null);
  return h("article", { class: "face card" }, [
    h("header", {}, picture, h("div", {}, heading, h("p", {}, facts.join(" \u00b7 ")))),
    h("div", { class: "parts" }, line.node, map.node),
  ]);
}

function others() {
  const hidden = DATA.faces_in_all - DATA.faces.length;
  if (!hidden) return null;
  const rows = DATA.more_faces.map((face) => h("tr", {}, [
    h("th", { scope: "row" }, title(face), several ? " in " + face.source : null),
    h("td", {}, clock(face.first_s, digits)),
    h("td", {}, lasting(face.seen_s)),
    h("td", {}, count(face.images)),
    h("td", {}, most(face.shares).label),
  ]));
  const left = hidden - rows.length;
  const columns = ["Face", "From", "Visible for", "Images", "Mostly"];
  return h("details", {}, [
    h("summary", {}, count(hidden, "more face") + ", visible for a shorter time"),
    h("div", { class: "card scroll" }, h("table", { class: "figures" }, [
      h("thead", {}, h("tr", {}, columns.map((column) => h("th", { scope: "col" }, column)))),
      h("tbody", {}, rows),
    ])),
    left ? h("p", { class: "small quiet" }, "and " + count(left) + " more") : null,
  ]);
}

function shares() {
  if (!DATA.faces_in_all) return null;
  const bars = (heading, values) => h("div", { class: "card" }, [
    h("h3", {}, heading),
    h("table", { class: "bars" }, h("tbody", {}, values.map((each, i) =>
      h("tr", each.images ? {} : { class: "none" }, [
        h("th", { scope: "row" }, each.label),
        h("td", { class: "bar" }, h("div", { class: "track" },
          h("div", { colour: DATA.colours[i], style: { width: each.share * 100 + "%" } }))),
        h("td", {}, percent(each.share)),
        h("td", { class: "quiet" }, each.images ? lasting(each.time_s) : "\u2013"),
      ])))),
  ]);
  return h("section", { "aria-labelledby": "shares" }, [
    h("h2", { id: "shares" }, "Share of each emotion"),
    h("p", {}, "The share of the time that a face was visible with each label."),
    h("div", { class: "shares" }, [
      bars(DATA.faces_in_all > 1 ? "All " + count(DATA.faces_in_all) + " faces" : "The only face", DATA.shares),
      DATA.faces_in_all > 1
        ? DATA.faces.map((face) => bars(title(face) + (several ? " in " + face.source : ""), face.shares)) : null,
    ]),
  ]);
}

function changes() {
  const left = DATA.changes_in_all - DATA.changes.length;
  const note = !DATA.changes_in_all ? "No face changed its label."
    : left ? "The " + DATA.changes.length + " most confident of " + count(DATA.changes_in_all) + ", in order of time."
      : "All changes, in order of time.";
  const pictured = DATA.changes.some((each) => each.picture);
  const item = (each) => {
    const caption = title(each) + " at " + clock(each.at_s, 1);
    return h("li", { class: "card" }, [
      each.picture ? h("img", { src: each.picture, alt: caption + ", " + each.after }) : null,
      h("div", {}, [
        h("div", { class: "turn" }, named(place(each.before)), h("span", {}, "\u2192"), named(place(each.after))),
        h("div", { class: "at" }, caption + ", " + percent(each.confidence), several ? h("br") : null, several ? each.source : null),
      ]),
    ]);
  };
  return h("section", { "aria-labelledby": "changes" }, [
    h("h2", { id: "changes" }, "Changes of label"),
    h("p", {}, note + (DATA.changes_in_all ? " The percentage is the new label's probability." : "")),
    h("ol", { class: pictured ? "changes pictured" : "changes" }, DATA.changes.map(item)),
  ]);
}

function results() {
  const { feeds, latencies_s: latency } = DATA;
  const all = several ? "All sources" : "";
  const ms = (time_s) => (time_s * 1000).toFixed(1) + UNIT + "ms";
  const longest = (feed) => known(feed.longest_s, (time_s) => lasting(time_s) + " at " + clock(feed.longest_at_s, digits));
  const dropped = (number) => count(number) + (DATA.offered ? " (" + percent(number / DATA.offered) + ")" : "");
  const rows = [
    ["Images on the topic", known(DATA.offered, count), null],
    ["Processed", count(DATA.images), (feed) => count(feed.images)],
    ["Not processed", known(DATA.unanswered, dropped), null],
    ["Without a face", count(DATA.without_face), (feed) => count(feed.without_face)],
    ["Rate of results", null, (feed) => known(feed.rate_hz, (rate) => rate.toFixed(2) + UNIT + "Hz")],
    ["Gaps longer than " + lasting(DATA.gap_s), null, (feed) => count(feed.gaps)],
    ["Longest interval between results", null, longest],
    ["Latency, median", known(latency, ({ p50 }) => ms(p50)), null],
    ["Latency, 99th percentile", known(latency, ({ p99 }) => ms(p99)), null],
    ["Latency, maximum", known(latency, ({ max }) => ms(max)), null],
  ];
  const isKnown = ([, whole, of]) => whole !== null || (of && feeds.some((feed) => of(feed) !== null));
  const unknown = new Set(rows.filter((row) => !isKnown(row)).map(([name]) => name.split(",")[0].toLowerCase()));
  const remarks = [
    DATA.unanswered === null ? "" : "Dropped images have no result.",
    latency ? "Latency is the time from an image's stamp to its result." : "",
  ].filter(Boolean);
  const line = ([name, whole, of]) => h("tr", {}, [
    h("th", { scope: "row" }, name),
    several || whole !== null ? h("td", {}, whole === null ? "" : whole) : h("td", {}, of(feeds[0])),
    several ? feeds.map((feed) => h("td", {}, of ? of(feed) ?? "\u2013" : "")) : null,
  ]);
  const heads = ["", all, ...feeds.map((feed) => feed.source)];
  return h("section", { "aria-labelledby": "results" }, [
    h("h2", { id: "results" }, "Images and results"),
    remarks.length ? h("p", {}, remarks.join(" ")) : null,
    unknown.size ? h("p", { class: "note" }, "Unknown for this recording: " + [...unknown].join(", ") + ".") : null,
    ...DATA.notes.map((note) => h("p", { class: "note" }, note)),
    h("div", { class: "card scroll", tabindex: "0" }, h("table", { class: "figures sources" }, [
      several ? h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))) : null,
      h("tbody", {}, rows.filter(isKnown).map(line)),
    ])),
  ]);
}

function footer() {
  return h("footer", {}, [
    h("p", {}, "Emotions, valence and arousal are a network's estimates from faces. They describe how a face looks, not what a person feels."),
    h("p", {}, "Colours after Okabe and Ito (2008), positions of the emotions after Russell (1980). Made by esr report."),
  ]);
}

// The values under the pointer.
const tip = document.getElementById("tip");

function nearest(times, time_ms) {
  let [low, high] = [0, times.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (times[middle] <= time_ms) low = middle;
    else high = middle;
  }
  return time_ms - times[low] <= times[high] - time_ms ? low : high;
}

// The index of the values at a time, or -1 where the face was not visible.
function seenAt(face, time_ms) {
  const i = nearest(face.series.t, time_ms);
  const near = Math.max(span_ms / WIDE, DATA.gap_s * 500);
  return Math.abs(face.series.t[i] - time_ms) <= near ? i : -1;
}

function values(face, time_ms) {
  const i = seenAt(face, time_ms);
  const heading = h("b", {}, clock(time_ms / 1000, digits || 1));
  if (i < 0) return [heading, h("div", {}, title(face) + " is not visible")];
  const { p, v, a, labels } = face.series;
  const row = (label, j) => h("div", { class: j === labels[i] ? "top" : null }, [
    swatch(j), label, h("span", {}, percent(p[i * DATA.labels.length + j] / 1000)),
  ]);
  return [
    heading,
    DATA.labels.map(row),
    h("div", { class: "rule" }, "valence", h("span", {}, signed(v[i] / 1000))),
    h("div", {}, "arousal", h("span", {}, signed(a[i] / 1000))),
  ];
}

function hide() {
  tip.hidden = true;
  for (const view of views) {
    view.cursor.hidden = true;
    view.now.setAttribute("visibility", "hidden");
  }
}

// Show a time in all faces, and its values in one: beside the pointer, or beside the line.
function show(view, time_ms, x, y) {
  for (const { face, line, cursor, now } of views) {
    const left = parseFloat(getComputedStyle(line).paddingLeft);
    cursor.hidden = false;
    cursor.style.left = left + (line.clientWidth - left) * (time_ms / span_ms) + "px";
    const i = seenAt(face, time_ms);
    now.setAttribute("visibility", i < 0 ? "hidden" : "visible");
    if (i >= 0) {
      now.setAttribute("cx", face.series.v[i] / 10);
      now.setAttribute("cy", -face.series.a[i] / 10);
    }
  }
  tip.replaceChildren(...values(view.face, time_ms).flat());
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const room = document.documentElement;
  const left = x + 16 + width <= room.clientWidth - 8 ? x + 16 : x - 16 - width;
  tip.style.left = Math.max(Math.min(left, room.clientWidth - 8 - width), 8) + "px";
  tip.style.top = Math.max(Math.min(y + 16, room.clientHeight - 8 - height), 8) + "px";
}

function listen(view) {
  const { line, face } = view;
  const frame = () => {
    const box = line.getBoundingClientRect();
    const left = parseFloat(getComputedStyle(line).paddingLeft);
    return { left: box.left + left, width: box.width - left, top: box.top };
  };
  const point = (event) => {
    const { left, width } = frame();
    const share = Math.min(Math.max((event.clientX - left) / width, 0), 1);
    view.time_ms = share * span_ms;
    show(view, view.time_ms, event.clientX, event.clientY);
  };
  line.addEventListener("pointermove", point);
  line.addEventListener("pointerdown", point);
  line.addEventListener("pointerleave", hide);
  line.addEventListener("blur", hide);
  line.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -0.01, ArrowRight: 0.01, PageUp: -0.1, PageDown: 0.1 }[event.key];
    if (event.key === "Escape") hide();
    if (!by) return;
    event.preventDefault();
    const from_ms = view.time_ms === undefined ? face.series.t[0] - by * span_ms : view.time_ms;
    view.time_ms = Math.min(Math.max(from_ms + by * span_ms, 0), span_ms);
    const { left, width, top } = frame();
    show(view, view.time_ms, left + (width * view.time_ms) / span_ms, top);
  });
}

window.addEventListener("scroll", hide, { passive: true });
window.addEventListener("beforeprint", () => {
  hide();
  document.querySelectorAll("details").forEach((each) => { each.open = true; });
});
const parts = [header(), faces(), shares(), changes(), results(), footer()];
document.getElementById("page").replaceChildren(...parts.filter(Boolean));
