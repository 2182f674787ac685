// A page that follows what happens leaves alone what somebody is filling in, or about
// to confirm.
"use strict";
(function () {
  // htmx takes longer to start than a page to be painted: it comes after that.
  var here = document.currentScript.src;
  function add(name, then) {
    var script = document.createElement("script");
    script.src = new URL(name, here);
    script.onload = then;
    document.head.append(script);
  }
  function start() {
    if (!document.querySelector("[hx-trigger]")) return;
    add("htmx.min.js", function () {
      add("htmx-sse.min.js", function () {
        var live = document.getElementById("live");
        if (!live) return;
        live.setAttribute("hx-ext", "sse"); // htmx has looked at the page before it had this
        htmx.process(live);
      });
    });
  }
  addEventListener("load", function () {
    new PerformanceObserver(function (list, painted) { painted.disconnect(); start(); }).observe({ type: "paint", buffered: true });
  });
})();
function busy(live) {
  var at = document.activeElement;
  var filling = at && live.contains(at) && /^(INPUT|SELECT|TEXTAREA)$/.test(at.tagName);
  return filling || live.querySelector("details[open]");
}
document.addEventListener("htmx:beforeRequest", function (e) {
  var live = document.getElementById("live");
  if (live && e.detail.elt === live && (busy(live) || document.hidden)) e.preventDefault();
});
// Somebody may have begun since the page was asked for.
document.addEventListener("htmx:beforeSwap", function (e) {
  var live = document.getElementById("live");
  if (live && e.detail.elt === live && busy(live)) e.detail.shouldSwap = false;
});
// A button is pressed once.
document.addEventListener("submit", function (e) {
  if (e.defaultPrevented || e.target.method !== "post") return;
  e.target.setAttribute("aria-busy", "true");
  setTimeout(function () {
    e.target.querySelectorAll("button").forEach(function (b) { b.disabled = true; });
  }, 0);
});
