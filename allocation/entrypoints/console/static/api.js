// Calls to the console. What changes something brings the token in a header, which no other site can make a browser send.

let token = null;

export const isUnlocked = () => token !== null;

async function answer(response) {
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.message || `the console answers ${response.status}`);
  return body;
}

export async function get(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== ""));
  return answer(await fetch(`api/${path}?${query}`, { credentials: "omit" }));
}

async function send(path, body, withToken) {
  return answer(await fetch(`api/${path}`, {
    method: "POST",
    credentials: "omit",
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${withToken}` },
    body: JSON.stringify(body),
  }));
}

export const post = (path, body) => send(path, body, token);

export async function unlock(given) {
  await send("token", {}, given);
  token = given;
}
