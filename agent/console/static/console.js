// A page that follows what happens leaves alone what somebody is filling in, or about
// to confirm.
"use strict";
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
