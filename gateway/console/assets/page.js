// The live part of the status page. Everything that comes from the gateway is
// put in place as text, never as markup: topics and client ids are chosen by
// strangers.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  // plain writes what has no shape of its own (controls, what reverses the direction of text) as an escape,
  // as the gateway does where it writes such text.
  const plain = (text) => String(text).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
  const put = (id, raw) => { const e = $(id), text = plain(raw); if (e.textContent !== text) e.textContent = text; };
  const state = (id, s) => { $(id).dataset.state = s || "unknown"; };
  const make = (tag, cls, text) => {
    const e = document.createElement(tag);
    if (cls) e.className = cls;
    if (text !== undefined) e.textContent = plain(text);
    return e;
  };

  const count = (n) => String(Math.round(n || 0)).replace(/\B(?=(\d{3})+$)/g, "\u202f");
  const two = (n) => String(Math.floor(n)).padStart(2, "0");
  const age = (s) => {
    s = Math.max(0, s || 0);
    if (s < 60) return `${Math.floor(s)} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min ${two(s % 60)} s`;
    if (s < 172800) return `${Math.floor(s / 3600)} h ${two(s % 3600 / 60)} min`;
    return `${Math.floor(s / 86400)} d ${two(s % 86400 / 3600)} h`;
  };
  const size = (n) => {
    n = n || 0;
    if (n < 1024) return `${n} B`;
    let i = -1;
    do { n /= 1024; i++; } while (n >= 1024 && i < 3);
    return `${n.toFixed(1)} ${["KiB", "MiB", "GiB", "TiB"][i]}`;
  };
  const clock = (d) => `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
  const day = (d) => `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;
  const since = (t) => {
    const d = new Date(t);
    return t && !t.startsWith("0001") ? `since ${day(d)} ${clock(d)}` : "";
  };
  const rateText = (r) => (r >= 100 ? count(r) : r >= 10 ? r.toFixed(1) : r.toFixed(2).replace(/\.?0+$/, "") || "0");

  const chips = (id, entries, none) => {
    const items = Object.keys(entries || {}).sort().map((k) => {
      const li = make("li", "", `${k} `);
      li.append(make("b", "", count(entries[k])));
      return li;
    });
    if (!items.length && none) items.push(make("li", "none", none));
    $(id).replaceChildren(...items);
  };

  const warnings = (list) => $("warnings").replaceChildren(...(list || []).map((w) => {
    const a = make("article", "warning");
    a.dataset.state = w.severity;
    const h = make("h3", "", `${w.name} `);
    h.append(make("small", "", since(w.since)));
    a.append(h, make("p", "", w.text), make("p", "next", w.next));
    return a;
  }));

  const link = (id, l) => {
    state(id, l.state);
    put(id, l.state || "unknown");
    put(`${id}-text`, [l.target, l.detail].filter(Boolean).join(" "));
  };

  // The last two minutes, one sample a second.
  const samples = [];
  let last;
  const sample = (m) => {
    const now = performance.now();
    if (last && m.accepted >= last.accepted && m.denied >= last.denied) {
      const s = Math.max(0.2, (now - last.at) / 1000);
      samples.push({ accepted: (m.accepted - last.accepted) / s, denied: (m.denied - last.denied) / s });
      if (samples.length > 120) samples.shift();
    }
    last = { at: now, accepted: m.accepted, denied: m.denied };
    if (!samples.length) return;
    const recent = samples.slice(-5);
    put("rate", rateText(recent.reduce((a, s) => a + s.accepted, 0) / recent.length));
    const peak = Math.max(...samples.map((s) => Math.max(s.accepted, s.denied)));
    put("peak", `${rateText(peak)} / s`);
    const top = Math.max(peak, 1) * 1.12;
    const x = (i) => (600 - (samples.length - 1 - i) * 600 / 119).toFixed(1);
    const path = (key) => samples.map((s, i) => `${i ? "L" : "M"}${x(i)} ${(89 - 87 * s[key] / top).toFixed(1)}`).join("");
    const line = path("accepted");
    $("spark-line").setAttribute("d", line);
    $("spark-fill").setAttribute("d", `${line}L600 90L${x(0)} 90Z`);
    $("spark-denied").setAttribute("d", samples.some((s) => s.denied > 0) ? path("denied") : "");
  };

  const show = (s) => {
    put("site", s.siteName || s.site); $("site").title = s.site; put("hub", s.hub);
    put("version", s.build.version); put("uptime", age(s.uptimeSeconds));
    put("health", s.health.state); state("health", s.health.state);
    warnings(s.health.warnings);
    put("accepted", count(s.messages.accepted)); put("for-upstream", count(s.messages.forUpstream)); put("forwarded", count(s.messages.forwarded));
    put("denied", count(s.messages.denied)); put("dropped", count(s.messages.dropped));
    $("denied").classList.toggle("zero", !s.messages.denied);
    sample(s.messages);
    const [epoch, number] = (s.cache.version || "").split(".");
    put("cache-version", number || "none"); put("cache-epoch", number ? ` in epoch ${epoch}` : ""); put("cache-age", age(s.cache.ageSeconds));
    state("stages", s.cache.stage);
    for (const k of ["assignments", "roles", "devices", "sensors", "spaces"]) put(k, count(s.cache[k]));
    put("connected", count(s.sessions.connected)); put("kept", count(s.sessions.total)); put("subscriptions", count(s.sessions.subscriptions));
    chips("kinds", s.sessions.byKind);
    $("listeners").replaceChildren(...(s.listeners || []).map((l) => {
      const tr = make("tr"), address = make("td");
      address.append(make("code", "", l.address));
      tr.append(make("td", "", l.name), address, make("td", "n", count(l.connections)));
      return tr;
    }));
    put("outbox", count(s.outbox.messages)); put("outbox-bytes", size(s.outbox.bytes)); put("outbox-limit", size(s.outbox.limitBytes));
    put("outbox-oldest", s.outbox.messages ? age(s.outbox.oldestSeconds) : "–");
    $("outbox-bar").value = s.outbox.limitBytes > 0 && s.outbox.bytes > 0 ? Math.max(1, 100 * s.outbox.bytes / s.outbox.limitBytes) : 0;
    link("upstream", s.upstream); link("sync", s.sync);
    chips("deployments", s.deployments, "none");
    chips("reasons", s.messages.deniedByReason);
    chips("not-forwarded", s.messages.notForwardedByReason);
    put("lost-upstream", count(Object.values(s.messages.notForwardedByReason || {}).reduce((a, n) => a + n, 0)));
    document.title = s.health.state === "ok" ? "Gatehouse" : `${s.health.state} – Gatehouse`;
  };

  let seen = Date.now();
  const poll = async () => {
    try {
      const r = await fetch("v1/status", { cache: "no-store", signal: AbortSignal.timeout(5000) });
      if (!r.ok) throw new Error((await r.json().catch(() => ({}))).what || r.statusText);
      show(await r.json());
      seen = Date.now();
      $("lost").hidden = true;
    } catch (e) {
      put("lost", `No answer from the gateway for ${age((Date.now() - seen) / 1000)}. What is shown is from ${clock(new Date(seen))}.`);
      $("lost").hidden = false;
      put("health", "no answer"); state("health", "lost");
    }
    setTimeout(poll, document.hidden ? 5000 : 1000);
  };

  const rows = $("denials");
  const denial = (r, fresh) => {
    rows.querySelector(".none")?.remove();
    const tr = make("tr", fresh ? "new" : ""), why = make("td");
    const time = make("td", "", clock(new Date(r.time)));
    time.title = r.time;
    why.append(make("span", "why", r.reason || "refused"));
    if (r.count > 1) why.append(make("span", "times", `×${count(r.count)}`));
    if (r.detail) {
      why.append(make("span", "detail", r.detail));
      why.title = r.detail; // the row shows two lines of it
    }
    const who = make("td"), topic = make("td");
    who.append(make("code", "", r.principal || r.clientId || r.remote || "?"));
    topic.append(make("code", "", r.topic || ""));
    tr.append(time, make("td", "", r.event), who, topic, why);
    rows.prepend(tr);
    while (rows.children.length > 100) rows.lastChild.remove();
  };
  const follow = () => {
    const started = Date.now();
    const es = new EventSource("v1/audit?follow=true&denied=true&limit=50");
    es.onopen = () => { state("live", "connected"); rows.querySelectorAll("tr:not(.none)").forEach((e) => e.remove()); };
    es.onmessage = (e) => { const r = JSON.parse(e.data); denial(r, new Date(r.time) > started); };
    es.onerror = () => state("live", "down"); // it connects again by itself
  };

  poll();
  follow();
})();
