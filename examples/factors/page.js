"use strict";

const at = (id) => document.getElementById(id);
const value = (id) => at(id).value.trim();
let pending = null; // the token between the two steps of a login

function tell(text, wrong = false) {
  at("told").textContent = text;
  at("told").classList.toggle("wrong", wrong);
}

async function ask(method, path, body) {
  const headers = {};
  const csrf = document.cookie.match(/(?:^|; )csrf_token=([^;]+)/);
  if (csrf) headers["X-CSRF-Token"] = csrf[1];
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  const text = await answer.text();
  const found = text ? JSON.parse(text) : null;
  if (!answer.ok) throw Object.assign(new Error(found.detail), found);
  return found;
}

function on(id, action) {
  at(id).addEventListener("click", async () => {
    try {
      await action();
    } catch (error) {
      tell(`${error.code || error.name}: ${error.message}`, true);
    }
  });
}

async function entered() {
  pending = null;
  at("second").hidden = true;
  const me = await ask("GET", "/me");
  tell(`${me.username} is logged in, ${me.auth.mfa ? "with two factors" : "with one factor"}.`);
  await list();
}

async function list() {
  const found = await ask("GET", "/passkeys");
  at("passkeys").replaceChildren(...found.map((passkey) => {
    const row = document.createElement("li");
    const button = document.createElement("button");
    row.textContent = `${passkey.name} `;
    button.textContent = "Remove";
    button.id = `remove-${passkey.id}`;
    row.append(button);
    setTimeout(() => on(button.id, async () => {
      await ask("DELETE", `/passkeys/${passkey.id}`);
      await list();
      tell("The passkey is removed.");
    }));
    return row;
  }));
}

function showCodes(found) {
  at("codes").replaceChildren(...found.recovery_codes.map((code) => {
    const row = document.createElement("li");
    row.textContent = code;
    return row;
  }));
}

at("account").addEventListener("submit", (event) => event.preventDefault());

on("register", async () => {
  await ask("POST", "/register", { username: value("name"), password: at("password").value });
  tell("Registered. Now log in.");
});

on("login", async () => {
  try {
    await ask("POST", "/login", { username: value("name"), password: at("password").value });
  } catch (error) {
    if (error.code !== "mfa_required") throw error;
    pending = error.mfa_token;
    at("second").hidden = false;
    tell("Now the second factor.");
    return;
  }
  await entered();
});

on("finish", async () => {
  const given = value("otp");
  const proof = /^[0-9 ]{6,7}$/.test(given) ? { code: given } : { recovery_code: given };
  await ask("POST", "/login/mfa", { mfa_token: pending, ...proof });
  await entered();
});

on("logout", async () => {
  await ask("POST", "/logout");
  tell("You are not logged in.");
});

on("begin", async () => {
  const found = await ask("POST", "/mfa/totp");
  at("picture").src = `data:image/svg+xml,${encodeURIComponent(found.qr_svg)}`;
  at("secret").textContent = found.secret;
  at("enrolment").hidden = false;
  tell("Scan the picture, then type the code.");
});

on("confirm", async () => {
  showCodes(await ask("POST", "/mfa/totp/confirm", { code: value("code") }));
  at("enrolment").hidden = true;
  tell("The authenticator is on. Keep these codes on paper.");
});

on("remove", async () => {
  await ask("DELETE", "/mfa/totp");
  at("codes").replaceChildren();
  tell("The authenticator is off.");
});

on("add", async () => {
  const options = await ask("POST", "/passkeys/register/options");
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
  const made = await navigator.credentials.create({ publicKey });
  await ask("POST", "/passkeys/register/verify", { credential: made.toJSON(), name: "My passkey" });
  await list();
  tell("The passkey is made.");
});

on("passkey-login", async () => {
  const options = await ask("POST", "/passkeys/login/options");
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
  const used = await navigator.credentials.get({ publicKey });
  await ask("POST", "/passkeys/login/verify", { credential: used.toJSON() });
  await entered();
});

on("open", async () => {
  const found = await ask("GET", "/vault");
  tell(`The vault of ${found.owner} holds ${found.secret}.`);
});
