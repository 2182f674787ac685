// The editor of the configuration: what the key at the cursor means, the numbers of the lines with those that are
// wrong marked, and how long a change waits for its confirmation.
"use strict";
(function () {
  // flowKeys are the keys around a place in what is between braces on one line.
  function flowKeys(text) {
    var keys = [], word = "", quote = "";
    for (var i = 0; i < text.length; i++) {
      var c = text[i];
      if (quote) { if (c === quote) quote = ""; else word += c; continue; }
      if (c === '"' || c === "'") quote = c;
      else if (c === "{") { keys.push(""); word = ""; }
      else if (c === "}") { keys.pop(); word = ""; }
      else if (c === "[" || c === "]") word = "";
      else if (c === ",") { if (keys.length) keys[keys.length - 1] = ""; word = ""; }
      else if (c === ":") { if (keys.length) keys[keys.length - 1] = word.trim(); word = ""; }
      else word += c;
    }
    return keys.filter(Boolean);
  }
  // pathAt is the keys that lead to a place of the file.
  function pathAt(text, at) {
    var rest = /^[^:,{}\[\]\n]*:?/.exec(text.slice(at))[0];
    var lines = text.slice(0, at + rest.length).split("\n"), stack = [], flow = "";
    lines.forEach(function (line) {
      if (/^\s*(#|$)/.test(line)) { flow = ""; return; }
      var indent = /^\s*/.exec(line)[0].length;
      line = line.slice(indent);
      while (/^-\s/.test(line)) { var mark = /^-\s+/.exec(line)[0].length; indent += mark; line = line.slice(mark); }
      while (stack.length && stack[stack.length - 1].indent >= indent) stack.pop();
      var key = /^["']?([\w.-]+)["']?\s*:/.exec(line);
      if (key) { stack.push({ indent: indent, key: key[1] }); line = line.slice(key[0].length); }
      flow = line;
    });
    return stack.map(function (s) { return s.key; }).concat(flowKeys(flow));
  }
  // describe finds what the schema says of a key; null where there is no such key.
  function describe(schema, path) {
    for (var i = 0; i < path.length && schema; i++) {
      while (schema.items) schema = schema.items;
      var more = typeof schema.additionalProperties === "object" ? schema.additionalProperties : null;
      schema = (schema.properties || {})[path[i]] || more;
    }
    return path.length ? schema : null;
  }
  function element(tag, text) { var e = document.createElement(tag); e.textContent = text; return e; }

  function help(area, box) {
    var schema = null, shown = "";
    fetch(box.dataset.schema).then(function (r) { return r.json(); }).then(function (s) { schema = s; update(); });
    function update() {
      if (!schema || document.activeElement !== area) return;
      var path = pathAt(area.value, area.selectionStart), found = describe(schema, path), name = found ? path.join(".") : "";
      if (name === shown) return;
      shown = name;
      if (!found) { box.replaceChildren(element("p", box.dataset.hint)); return; }
      var list = [element("code", name), element("p", found.description || "")];
      if (found.enum) list.push(element("p", box.dataset.values + " " + found.enum.join(", ")));
      if (found.examples) list.push(element("p", box.dataset.example + " " + found.examples.join(", ")));
      box.replaceChildren.apply(box, list);
    }
    document.addEventListener("selectionchange", update); // of old browsers not for a textarea: hence the others
    ["input", "keyup", "click", "focus"].forEach(function (name) { area.addEventListener(name, update); });
  }

  function numbers(area, gutter) {
    var drawn = "", height = parseFloat(getComputedStyle(area).lineHeight);
    function draw() { // those that are seen: thousands would keep the page from being painted
      var wrong = {};
      document.querySelectorAll("#verdict li code").forEach(function (e) {
        var at = /^[^:\s]*:(\d+):\d+: (.*)/.exec(e.textContent);
        if (at) wrong[at[1]] = at[2];
      });
      var first = 1 + Math.floor(area.scrollTop / height), last = first + Math.ceil(area.clientHeight / height);
      var count = area.value.split("\n").length, now = [first, last, count, JSON.stringify(wrong)].join();
      if (now !== drawn) {
        drawn = now;
        gutter.replaceChildren();
        for (var n = first; n <= last; n++) {
          var line = element(wrong[n] ? "mark" : "span", n <= count ? n : "");
          if (wrong[n]) line.title = wrong[n];
          gutter.append(line, "\n");
        }
      }
      gutter.scrollTop = area.scrollTop % height;
    }
    area.addEventListener("input", draw);
    area.addEventListener("scroll", draw);
    window.addEventListener("resize", draw);
    document.addEventListener("htmx:afterSwap", draw);
    draw();
  }

  function countdown(timer, area) {
    var end = Date.now() + 1000 * timer.dataset.left; // what is left, not when it ends: clocks differ
    var tick = setInterval(function () {
      var left = Math.max(0, Math.round((end - Date.now()) / 1000));
      timer.textContent = Math.floor(left / 60) + ":" + String(left % 60).padStart(2, "0");
      if (left > 0) return;
      clearInterval(tick);
      if (!area || area.value === area.defaultValue) setTimeout(function () { location.assign("/configuration"); }, 2000);
    }, 250);
  }

  var area = document.querySelector("textarea.code"), timer = document.querySelector("[role=timer]");
  function start() {
    help(area, document.getElementById("help"));
    numbers(area, document.querySelector(".gutter"));
  }
  // Numbers need the text laid out, which takes long: the page is painted first, as its style has it too.
  if (area) setTimeout(start, 100);
  if (timer) countdown(timer, area);
})();
