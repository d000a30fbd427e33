"use strict";

// Pages are complete without this file. It keeps them current, and checks a space without loading the page again.
// Text from the service is only ever set as text, never as HTML.

const metric = value => value === null || value === undefined ? "–" : value.toFixed(4);
const fieldOf = (part, name) => part.querySelector(`[data-field="${name}"]`);

function set(part, name, text) {
  const field = fieldOf(part, name);
  if (field && field.textContent !== text) field.textContent = text;
}

function setState(part, state) {
  const field = fieldOf(part, "state");
  if (field) { field.textContent = state; field.className = `state state-${state}`; }
}

function setTrials(part, ended, planned) {
  set(part, "count", planned ? `${ended} of ${planned}` : "–");
  const bar = fieldOf(part, "bar");
  if (bar) { bar.max = planned || 1; bar.value = ended; }
}

function follow(part) {
  const gone = part.querySelector("[data-gone]");
  const source = new EventSource(part.dataset.follow);
  const on = (kind, act) => source.addEventListener(kind, event => { gone.hidden = true; act(JSON.parse(event.data)); });
  source.onopen = () => { gone.hidden = true; };
  source.onerror = () => { gone.hidden = false; };
  on("state", now => {
    setState(part, now.state);
    set(part, "gpus", `${now.granted} of ${now.most ?? "all"}`);
    const message = fieldOf(part, "message");
    message.hidden = !now.message;
    message.textContent = now.message;
  });
  on("epochs", now => {
    set(part, "epochs", String(now.epochs));
    setTrials(part, now.ended, now.planned);
    const rows = now.running.map(run => {
      const row = document.createElement("li");
      row.textContent = `trial ${run.trial}, epoch ${run.epoch}` + (run.value === null ? "" : `, ${metric(run.value)}`);
      return row;
    });
    fieldOf(part, "running").replaceChildren(...rows);
    part.querySelector("[data-running]").hidden = !rows.length;
  });
  on("best", now => set(part, "best", metric(now.value)));
  on("end", () => { source.close(); location.reload(); });
  addEventListener("pagehide", () => source.close());
}

async function refreshList(table) {
  if (document.hidden) return;
  const answer = await fetch("/api/v1/studies");
  if (!answer.ok) return;
  const { studies, notice } = await answer.json();
  const warning = document.querySelector("[data-notice]");
  warning.hidden = !notice;
  warning.textContent = notice;
  const rows = new Map([...table.querySelectorAll("[data-study]")].map(row => [row.dataset.study, row]));
  const isChosen = table.querySelector("input:checked");
  if (!isChosen && (studies.length !== rows.size || studies.some(study => !rows.has(study.name)))) return location.reload();
  for (const { name, state, queue, progress } of studies) {
    const row = rows.get(name);
    if (!row) continue;
    setState(row, state);
    set(row, "best", metric(progress?.best));
    setTrials(row, progress?.ended ?? 0, progress?.planned ?? 0);
    const isActive = queue && !["done", "failed", "stopped"].includes(queue.state);
    set(row, "gpus", isActive ? `${queue.granted} of ${queue.most ?? "all"}` : "–");
  }
}

function element(kind, text, className) {
  const made = document.createElement(kind);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

const NUMBERS = ["gpus", "trials", "epochs", "seed", "promote_epochs", "reevaluation_runs", "max_hours", "gpu_hours",
                 "no_improvement"];

function spaceRequest(form) {
  const given = Object.fromEntries([...new FormData(form)].filter(([, value]) => value.trim()));
  const wish = { space: given.space ?? "", space_name: given.space_name, promote: "promote" in given };
  for (const name of ["data", "model"]) if (given[name]) wish[name] = given[name];
  for (const name of NUMBERS) if (given[name]) wish[name] = Number(given[name]);
  return wish;
}

function problemRow(problem, area) {
  const row = document.createElement("li");
  if (problem.line) {
    const link = element("a", `line ${problem.line}`);
    link.href = "#space";
    link.addEventListener("click", event => { event.preventDefault(); goToLine(area, problem.line); });
    row.append(link, " ");
  } else if (problem.field) row.append(element("b", problem.field), " ");
  row.append(problem.text);
  return row;
}

function goToLine(area, line) {
  const lines = area.value.split("\n"), start = lines.slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
  area.focus();
  area.setSelectionRange(start, start + (lines[line - 1] ?? "").length);
  area.scrollTop = Math.max(0, (line - 4) * area.scrollHeight / lines.length);
}

function estimateText({ trials, slots, trained, wall }) {
  const range = ([low, high]) => `${Math.round(low).toLocaleString("en")} to ${Math.round(high).toLocaleString("en")}`;
  return `Estimate for ${trials} trials on ${slots} slot${slots === 1 ? "" : "s"}: ${range(trained)} epochs of training, ` +
    `which take as long as ${range(wall)} epochs.`;
}

async function check(form, result) {
  result.replaceChildren(element("p", "Checking …", "note"));
  const answer = await fetch("/api/v1/spaces/check", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRF-Token": form.elements.csrf.value },
    body: JSON.stringify(spaceRequest(form)),
  });
  const found = await answer.json();
  const problems = found.problems?.length ? found.problems : answer.ok ? [] : [{ text: found.error }];
  const parts = [];
  if (problems.length) {
    const list = element("ul", "", "problems");
    list.append(...problems.map(problem => problemRow(problem, form.elements.space)));
    parts.push(list);
  } else parts.push(element("p", "The space is fine.", "good"));
  for (const warning of found.warnings ?? []) parts.push(element("p", warning, "warning"));
  if (found.estimate) parts.push(element("p", estimateText(found.estimate)));
  result.replaceChildren(...parts);
}

for (const part of document.querySelectorAll("[data-follow]")) follow(part);
for (const table of document.querySelectorAll("[data-studies]")) setInterval(() => refreshList(table).catch(() => {}), 5000);
for (const form of document.querySelectorAll("[data-submit]")) {
  const result = form.querySelector("[data-result]");
  form.addEventListener("submit", event => {
    if (event.submitter?.value !== "check") return;
    event.preventDefault();
    check(form, result).catch(() => result.replaceChildren(element("p", "The service does not answer.", "warning")));
  });
}
