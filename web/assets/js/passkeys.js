// Makes and uses passkeys: a form marked data-passkey asks our page for options, the browser for a credential, and is
// then sent as any other form. Without this file, or in a browser without passkeys, such forms do nothing.
// An address that is a number has no passkeys.
const isNumber = /^[\d.]+$|:/.test(location.hostname);
const can = window.PublicKeyCredential?.parseCreationOptionsFromJSON && navigator.credentials && !isNumber;

async function options(form) {
  const answer = await fetch(form.dataset.options, {
    method: "POST",
    headers: { "content-type": "application/x-www-form-urlencoded" },
  });
  // The sign-in is older than 15 minutes.
  if (answer.status === 403) location.assign(`/sign-in/again?next=${encodeURIComponent(location.pathname)}`);
  if (!answer.ok || answer.redirected || !answer.headers.get("content-type").startsWith("application/json")) {
    throw new Error("Passkeys cannot be used right now. Load the page again.");
  }
  return answer.json();
}

async function credential(form) {
  const asked = await options(form);
  if (form.dataset.passkey === "create") {
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(asked);
    return navigator.credentials.create({ publicKey });
  }
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(asked);
  return navigator.credentials.get({ publicKey });
}

for (const form of document.querySelectorAll("form[data-passkey]")) {
  if (!can) {
    const wrong = form.querySelector(".wrong");
    wrong.textContent = isNumber ? `Passkeys work at ${form.dataset.at}.` : "This browser has no passkeys.";
    wrong.hidden = false;
    form.querySelector("button").disabled = true;
    continue;
  }
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const wrong = form.querySelector(".wrong");
    wrong.hidden = true;
    try {
      form.elements.credential.value = JSON.stringify((await credential(form)).toJSON());
      form.submit();
    } catch (fault) {
      wrong.textContent = fault.name === "NotAllowedError" ? "No passkey was used." : fault.message;
      wrong.hidden = false;
    }
  });
}
