// A page that follows what happens leaves alone what somebody is filling in, or about
// to confirm.
"use strict";
document.addEventListener("htmx:beforeRequest", function (e) {
  var live = document.getElementById("live");
  if (!live || e.detail.elt !== live) return;
  var at = document.activeElement;
  var filling = at && live.contains(at) && /^(INPUT|SELECT|TEXTAREA)$/.test(at.tagName);
  if (filling || live.querySelector("details[open]") || document.hidden) e.preventDefault();
});
// A button is pressed once.
document.addEventListener("submit", function (e) {
  if (e.defaultPrevented || e.target.method !== "post") return;
  e.target.setAttribute("aria-busy", "true");
  setTimeout(function () {
    e.target.querySelectorAll("button").forEach(function (b) { b.disabled = true; });
  }, 0);
});
