// The browser makes a passkey, or shows that it has one, and the form brings the answer. What parses and writes JSON is
// the browser's own (WebAuthn level 3).
"use strict";
(function () {
  var form = document.getElementById("passkey"), failed = document.getElementById("passkey-failed");
  function answer() {
    var asked = JSON.parse(form.dataset.options);
    if (form.dataset.kind === "new") {
      return navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(asked) });
    }
    return navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(asked) });
  }
  async function ask() {
    failed.hidden = true;
    try {
      form.elements.answer.value = JSON.stringify(await answer());
    } catch (e) {
      failed.hidden = false;
      return;
    }
    form.submit();
  }
  form.addEventListener("submit", function (e) { e.preventDefault(); ask(); });
  ask();
})();
