
"use strict";
(() => {
  const data = document.body.dataset;
  const at = (id) => document.getElementById(id);
  let token = null;

  const tell = (text, kind) => {
    at("told").textContent = text;
    at("told").className = kind;
  };

  async function ask(method, url, content) {
    const headers = content ? { "Content-Type": "application/json" } : {};
    const csrf = /(?:^|; )csrf_token=([^;]*)/.exec(document.cookie);
    if (token) headers[data.header] = `${data.prefix} ${token}`.trim();
    else if (data.cookies && csrf) headers["X-CSRF-Token"] = csrf[1];
    const answer = await fetch(url, { method, headers, body: content && JSON.stringify(content), cache: "no-store" });
    const text = await answer.text();
    let found = {};
    try { found = JSON.parse(text); } catch { /* a proxy's page, or no body */ }
    return { ok: answer.ok, code: found.code, detail: found.detail || `The server answered ${answer.status}.`, body: found };
  }

  async function greet() {
    const me = await ask("GET", data.me);
    if (!me.ok) return false;
    at("who").textContent = me.body.username || me.body.email;
    at("login").hidden = true;
    at("decision").hidden = false;
    tell("", "");
    at("reject").focus();
    return true;
  }

  function again(text) {
    token = null;
    at("login").hidden = false;
    at("decision").hidden = true;
    tell(text, "bad");
  }

  const busy = (on) => document.querySelectorAll("button").forEach((button) => { button.disabled = on; });

  const safely = (action) => async (event) => {
    event.preventDefault();
    busy(true);
    try { await action(); } catch { tell("The server cannot be reached; try again.", "bad"); }
    busy(false);
  };

  at("login").addEventListener("submit", safely(async () => {
    const given = { username: at("name").value, password: at("password").value };
    const second = !at("factor").hidden;
    if (second) given.otp = at("otp").value;
    const answer = await ask("POST", data.login, given);
    at("otp").value = "";
    if (answer.code === "mfa_required" && !second) {
      at("factor").hidden = false;
      at("otp").required = true;
      at("otp").focus();
      return tell("Now the code of your authenticator.", "");
    }
    if (!second || answer.ok) at("password").value = "";
    if (!answer.ok) return tell(answer.detail, "bad");
    token = answer.body.access_token || null;
    if (!await greet()) again("The login did not last; try again.");
  }));

  const decide = (method, said, kind) => safely(async () => {
    const own = token && !data.cookies && data.logout;
    const approves = method === "PATCH";
    const answer = await ask(method, data.decide, own && approves ? { log_out: true } : undefined);
    if (["fresh_login_required", "mfa_required", "token_expired", "token_revoked"].includes(answer.code)) return again("Log in again to decide.");
    if (!answer.ok) return tell(answer.detail, "bad");
    at("question").hidden = at("decision").hidden = true;
    document.querySelector("h1").textContent = said;
    tell("You can close this page.", kind);
    // The program's login goes back to this one, which ends when the program has its own.
    if (own && !approves) await ask("POST", data.logout).catch(() => null);
    token = null;
  });

  at("approve").addEventListener("click", decide("PATCH", "Approved", "good"));
  at("reject").addEventListener("click", decide("DELETE", "Rejected", "good"));
  if (data.cookies) greet().catch(() => null);
})();
