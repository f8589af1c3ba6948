// The playground: forms → requests → pictures, words and figures.

import { get, post, Problem, readNpy, setKey } from "./api.js";
import { Editor, paint, paintHeat, pngOf } from "./canvas.js";
import { fieldsFor, rowIn, showRow, tableOf } from "./tables.js";

const $ = (id) => document.getElementById(id);
const editor = new Editor($("canvas"), $("canvas-state"));
const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
let page = null; // what the service says of the chosen model
let drawn = null; // the samples on screen: {values, shape, seed, plain}
let ends = []; // the rows that were chosen, at most two

const path = (operation) => `/v1/models/${encodeURIComponent(page.name)}@${page.version}/${operation}`;
const rowOf = (array, i) => {
  const size = array.shape.slice(-3).reduce((a, b) => a * b, 1);
  return array.values.subarray(i * size, (i + 1) * size);
};

/** The filled-in fields of a form as a request; empty ones are left to the model. */
function fieldsOf(form) {
  const found = {};
  for (const field of form.elements) {
    if (!field.name || field.disabled || field.closest("[hidden]")) continue;
    if (field.type === "checkbox") found[field.name] = field.checked;
    else if (field.type === "number" && field.value !== "") found[field.name] = Number(field.value);
    else if (field.type !== "number" && field.value !== "") found[field.name] = field.value;
  }
  return found;
}

/** Run `work` for a button: one at a time, errors in words. */
async function during(button, work) {
  if (button.getAttribute("aria-busy") === "true") return;
  button.setAttribute("aria-busy", "true");
  $("error").hidden = true;
  try {
    await work();
  } catch (error) {
    tell(error);
  } finally {
    button.removeAttribute("aria-busy");
  }
}

function tell(error) {
  if (!(error instanceof Problem)) console.error(error);
  if (error.status === 401) $("key-form").hidden = false;
  if (error.exchange) showExchange(error.exchange);
  const box = $("error");
  const words = document.createElement("p");
  const details = error.fields || [];
  words.textContent = details.length === 1 ? details[0].detail : error.message;
  box.replaceChildren(words);
  if (details.length > 1) {
    const list = document.createElement("ul");
    list.append(...details.map((d) => Object.assign(document.createElement("li"), { textContent: d.detail })));
    words.textContent = "The service cannot take this:";
    box.append(list);
  }
  box.hidden = false;
  box.scrollIntoView({ block: "nearest" });
}

async function ask(operation, body, accept) {
  const { content, exchange } = await post(path(operation), body, accept);
  showExchange(exchange);
  return { content, exchange };
}

function showExchange({ path: where, status, timing, totalMs, curl, model }) {
  const server = timing.reduce((sum, t) => sum + t.ms, 0);
  $("last-line").textContent =
    `POST ${where.split("/").pop()} to ${model || "the service"}: ${status}, ` +
    `${totalMs.toFixed(1)} ms here, of which the service took ${server.toFixed(1)} ms.`;
  const bar = $("timing");
  bar.replaceChildren(...timing.map(({ phase, ms }) => {
    const part = document.createElement("span");
    part.className = phase;
    part.style.width = `${(100 * ms) / Math.max(server, 1e-9)}%`;
    return part;
  }));
  bar.hidden = timing.length === 0;
  bar.setAttribute("aria-label", timing.map((t) => `${t.phase} ${t.ms.toFixed(2)} ms`).join(", "));
  $("timing-figures").replaceChildren(...timing.map(({ phase, ms }) => figure(phase, `${ms.toFixed(2)} ms`, phase)));
  $("curl").textContent = curl;
  $("curl-box").hidden = false;
}

function figure(term, text, swatch) {
  const name = Object.assign(document.createElement("dt"), { textContent: term });
  const value = Object.assign(document.createElement("dd"), { textContent: text });
  if (!swatch) return [name, value];
  const both = document.createElement("div");
  both.className = swatch;
  both.append(name, value);
  return both;
}

// Models ────────────────────────────────────────────────────────────────────────────────────────

async function listModels() {
  const { models } = await get("/v1/models");
  const menu = $("model");
  menu.replaceChildren(...models.map((m) => {
    const option = new Option(`${m.name}@${m.version}${m.state === "ready" ? "" : ` (${m.state})`}`);
    option.value = `${m.name}@${m.version}`;
    option.disabled = m.state === "failed";
    return option;
  }));
  if (models.length === 0) {
    $("facts").textContent = "This service has no models yet. Train one, or add one with `reverie models add`.";
    return;
  }
  const usable = named(models) || models.find((m) => m.state === "ready") || models[0];
  menu.value = `${usable.name}@${usable.version}`;
  await choose();
}

/** The model that the address asks for, as #mnist-cgan or #mnist-cgan@1: it can be kept and shared. */
function named(models) {
  const wanted = location.hash.slice(1);
  return models.find((m) => m.state !== "failed" && [m.name, `${m.name}@${m.version}`].includes(wanted));
}

async function choose() {
  page = await get(`/v1/models/${encodeURIComponent($("model").value)}`);
  history.replaceState(null, "", `#${page.name}@${page.version}`);
  const table = page.data.kind === "table";
  const [channels, height, width] = table ? [] : page.data.shape;
  if (table) $("cells").replaceChildren(...fieldsFor(page.data.columns));
  else if (editor.shape.join() !== page.data.shape.join()) editor.resize(page.data.shape);
  const chain = Boolean(page.functions?.sweep);
  const told = Object.values(page.functions || {}).some((f) => f.inputs?.some((i) => i.role === "label"));
  const label = told || Boolean(page.data.label_column);
  const names = label ? page.labels : [];
  $("sample-form").elements.label.replaceChildren(new Option("any", ""), ...names.map((name) => new Option(name)));
  document.querySelectorAll("[data-for]").forEach((e) => {
    const kinds = { latent: !chain && page.latent, chain, colour: channels === 3, image: !table, table, label };
    e.hidden = !kinds[e.dataset.for];
  });
  for (const operation of ["interpolate", "inpaint", "score"]) enable(operation);
  $("card-link").href = `/v1/models/${page.name}@${page.version}/card`;
  const can = page.capabilities.join(", ");
  $("facts").replaceChildren(
    bold(page.family.toUpperCase()),
    table ? ` · rows of ${page.data.columns.length} columns · ` : ` · ${width} × ${height}${channels === 3 ? " in colour" : ""} · `,
    `${page.device || page.state} · can ${can} · digest ${page.digest.slice(7, 19)}…`,
  );
  forget();
}

function enable(operation) {
  const able = page.capabilities.includes(operation);
  if (operation === "interpolate") $("interpolate").hidden = !able;
  if (operation === "inpaint") $("inpaint-form").querySelector(".primary").disabled = !able;
  if (operation === "score") $("score").disabled = !able;
}

const bold = (text) => Object.assign(document.createElement("b"), { textContent: text });

function forget() {
  drawn = null;
  ends = [];
  $("samples").replaceChildren();
  $("walk").replaceChildren();
  $("fillings").replaceChildren();
  $("rows").replaceChildren();
  $("filled").replaceChildren();
  $("verdict").hidden = true;
  $("draw-note").textContent = "";
  showEnds();
}

// Sample ────────────────────────────────────────────────────────────────────────────────────────

async function sample() {
  const { label, ...request } = fieldsOf($("sample-form"));
  if (label !== undefined) request.labels = [label];
  if (page.data.kind === "table") return sampleRows(request);
  const { content, exchange } = await ask("sample", request, "application/x-npy");
  const { n, seed, values, labels, ...others } = request;
  drawn = { ...readNpy(content), seed: exchange.seed === null ? null : Number(exchange.seed) };
  drawn.labels = page.functions.generate ? labels : undefined;
  drawn.plain = Object.keys(others).length === 0 && values !== "sample" && drawn.labels === labels;
  ends = [];
  $("samples").replaceChildren(...Array.from({ length: drawn.shape[0] }, (_, i) => sampleTile(i)));
  const origin = drawn.seed === null ? "from the model’s running chains" : `with seed ${drawn.seed}`;
  $("sample-note").textContent = `${n} samples ${origin}. Choose two of them to walk from one to the other.`;
  showEnds();
}

// Rows ──────────────────────────────────────────────────────────────────────────────────────────

async function rowsOf(operation, request) {
  const { content, exchange } = await ask(operation, request, "application/json");
  return { rows: JSON.parse(new TextDecoder().decode(content)).samples, seed: exchange.seed };
}

async function sampleRows(request) {
  const { rows, seed } = await rowsOf("sample", request);
  const edit = (row) => {
    showRow($("cells"), row);
    $("rows-form").scrollIntoView({ block: "nearest" });
  };
  $("rows").replaceChildren(tableOf(page.data.columns, rows, page.capabilities.includes("inpaint") && edit));
  $("sample-note").textContent = `${rows.length} rows with seed ${seed}.`;
}

async function fillRow() {
  const { n, seed } = fieldsOf($("rows-form"));
  const request = { rows: [rowIn($("cells"), page.data.columns)], n, ...(seed === undefined ? {} : { seed }) };
  const found = await rowsOf("inpaint", request);
  $("filled").replaceChildren(tableOf(page.data.columns, found.rows[0]));
  $("rows-note").textContent = `${found.rows[0].length} fillings with seed ${found.seed}. What you entered came back as it was.`;
}

function sampleTile(i) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(paint(document.createElement("canvas"), rowOf(drawn, i), page.data.shape));
  button.setAttribute("aria-label", `Sample ${i}`);
  button.addEventListener("click", () => {
    ends = ends.includes(i) ? ends.filter((e) => e !== i) : [...ends.slice(-1), i];
    showEnds();
    if (ends.length === 2 && !$("interpolate").hidden) $("interpolate-form").requestSubmit();
  });
  return button;
}

function showEnds() {
  [...$("samples").children].forEach((tile, i) => {
    const place = ends.indexOf(i);
    tile.setAttribute("aria-pressed", String(place >= 0));
    if (place >= 0) tile.dataset.end = place === 0 ? "A" : "B";
    else delete tile.dataset.end;
  });
  $("interpolate-form").querySelector("button").disabled = ends.length !== 2;
  $("use-sample").disabled = ends.length === 0;
  $("sheet").disabled = drawn === null;
}

/** The samples on screen as one PNG, two pixels apart, as the service lays them out. */
async function saveSheet() {
  const [n, , height, width] = drawn.shape;
  const columns = Math.ceil(Math.sqrt(n));
  const scale = Math.max(1, Math.floor(112 / Math.max(height, width)));
  const [down, across] = [height * scale + 2, width * scale + 2];
  const sheet = document.createElement("canvas");
  sheet.width = columns * across - 2;
  sheet.height = Math.ceil(n / columns) * down - 2;
  const context = sheet.getContext("2d");
  context.fillStyle = "#585858";
  context.fillRect(0, 0, sheet.width, sheet.height);
  context.imageSmoothingEnabled = false;
  [...$("samples").querySelectorAll("canvas")].forEach((tile, i) => {
    context.drawImage(tile, (i % columns) * across, Math.floor(i / columns) * down, width * scale, height * scale);
  });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await new Promise((done) => { sheet.toBlob(done, "image/png"); }));
  link.download = `${page.name}-${drawn.seed === null ? "samples" : `seed-${drawn.seed}`}.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// Interpolate ───────────────────────────────────────────────────────────────────────────────────

/** A sample as a point of a path: by its seed and row, or, if no seed made it, by its image. */
const pointOf = (row) => (drawn.seed === null
  ? { image: { png: pngOf(rowOf(drawn, row), page.data.shape) } }
  : { seed: drawn.seed, row });

async function interpolate() {
  const request = { points: ends.map(pointOf), ...fieldsOf($("interpolate-form")) };
  if (drawn.labels) request.labels = drawn.labels;
  const film = await ask("interpolate", request, "image/png");
  const pictures = [picture(film.content, "image/png", "The frames side by side", "film")];
  if (!calm) {
    const moving = await ask("interpolate", request, "image/webp");
    pictures.unshift(picture(moving.content, "image/webp", `A walk from sample ${ends[0]} to sample ${ends[1]}`, ""));
  }
  $("walk").querySelectorAll("img").forEach((img) => URL.revokeObjectURL(img.src));
  $("walk").replaceChildren(...pictures);
  const how = drawn.seed === null
    ? "The ends are the samples as the model encodes and decodes them."
    : drawn.plain ? "" : "The ends are drawn with the model’s own settings, not with those of the samples.";
  $("interpolate-note").textContent = `From sample ${ends[0]} (A) to sample ${ends[1]} (B). ${how}`;
}

function picture(content, type, words, className) {
  const image = new Image();
  image.src = URL.createObjectURL(new Blob([content], { type }));
  image.alt = words;
  const box = document.createElement("div");
  box.className = className;
  if (className === "film") box.tabIndex = 0;
  box.append(image);
  return box;
}

// Inpaint and score ─────────────────────────────────────────────────────────────────────────────

async function inpaint() {
  if (!editor.hasHole) throw new Error("There is no hole to fill: choose the Hole brush, or one of the holes beside the image.");
  const request = { images: [{ png: editor.imagePng() }], mask: { png: editor.holePng() }, ...fieldsOf($("inpaint-form")) };
  const { content, exchange } = await ask("inpaint", request, "application/x-npy");
  const found = readNpy(content);
  $("verdict").hidden = true;
  $("fillings").replaceChildren(...Array.from({ length: found.shape[1] }, (_, i) => {
    const tile = paint(document.createElement("canvas"), rowOf(found, i), page.data.shape);
    tile.setAttribute("role", "img");
    tile.setAttribute("aria-label", `Filling ${i}`);
    return tile;
  }));
  $("draw-note").textContent = `${found.shape[1]} fillings with seed ${exchange.seed}.`;
}

async function score() {
  const heat = page.scores[0]?.heatmap === true;
  const request = { images: [{ png: editor.imagePng() }], explain: heat };
  const { content } = await ask("score", request, "application/json");
  const found = JSON.parse(new TextDecoder().decode(content));
  $("fillings").replaceChildren();
  $("draw-note").textContent = "";
  if (heat) paintHeat($("heatmap"), editor.image, Float32Array.from(found.heatmaps[0].flat(2)), page.data.shape);
  $("heatmap").hidden = !heat;
  $("verdict-words").textContent = verdict(found);
  $("verdict-figures").replaceChildren(...[
    ["Score", found.scores[0].toFixed(3)],
    ["Threshold", found.threshold === null ? "none" : found.threshold.toFixed(3)],
    ["p-value", found.p_values === null ? "none" : found.p_values[0].toFixed(4)],
    ["Method", found.method],
    ["Calibrated on", `${found.n_calibration} held-out images`],
  ].flatMap(([term, text]) => figure(term, text)));
  $("verdict").hidden = false;
}

function verdict(found) {
  if (found.p_values === null) return "This model’s scores are not calibrated: only compare them with each other.";
  const share = (100 * found.p_values[0]).toPrecision(2);
  const among = `About ${share} % of normal images score at least as high.`;
  return found.anomalous[0] ? `Unusual. ${among}` : `Nothing unusual. ${among}`;
}

// Wiring ────────────────────────────────────────────────────────────────────────────────────────

function onSubmit(form, work) {
  $(form).addEventListener("submit", (event) => {
    event.preventDefault();
    during($(form).querySelector(".primary"), work);
  });
}
onSubmit("sample-form", sample);
onSubmit("interpolate-form", interpolate);
onSubmit("inpaint-form", inpaint);
onSubmit("rows-form", fillRow);
$("score").addEventListener("click", (event) => during(event.target, score));
$("sheet").addEventListener("click", (event) => during(event.target, saveSheet));
$("clear").addEventListener("click", () => editor.clear());
$("use-sample").addEventListener("click", () => editor.setImage(rowOf(drawn, ends.at(-1))));
$("upload").addEventListener("change", async (event) => {
  const [file] = event.target.files;
  if (!file) return;
  await editor.load(file).catch(() => tell(new Error("This file is not a picture that the browser can read.")));
  event.target.value = "";
});
$("colour").addEventListener("input", (event) => {
  editor.colour = [1, 3, 5].map((i) => parseInt(event.target.value.slice(i, i + 2), 16) / 255);
});
document.querySelectorAll("[name=tool]").forEach((radio) => {
  radio.addEventListener("change", () => { editor.tool = radio.value; });
});
document.querySelectorAll("[data-hole]").forEach((button) => {
  button.addEventListener("click", () => editor.setHole(button.dataset.hole));
});
$("model").addEventListener("change", () => choose().then(() => during($("sample-form").querySelector(".primary"), sample)).catch(tell));
$("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText($("curl").textContent);
  $("copy").textContent = "Copied";
  setTimeout(() => { $("copy").textContent = "Copy curl"; }, 1500);
});
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setKey($("key").value);
  $("key-form").hidden = true;
  $("error").hidden = true;
  begin();
});

function begin() {
  listModels()
    .then(() => page && during($("sample-form").querySelector(".primary"), sample))
    .catch(tell);
}
addEventListener("hashchange", begin);
begin();
