// A client of an HTTP API with Node's own fetch. Prints what it got as JSON; decides nothing.
const [url, role] = process.argv.slice(2);
const headers = { authorization: `Bearer ${process.env.WEIR_TOKEN}`, "weir-role": role };
const body = "0123456789".repeat(100_000);
const stream = () => new ReadableStream({
  start(controller) {
    for (let at = 0; at < body.length; at += 70_000) {
      controller.enqueue(new TextEncoder().encode(body.slice(at, at + 70_000)));
    }
    controller.close();
  },
});
const rows = [];
for (const path of ["/patients", "/encoded", "/patients"]) {
  rows.push(await (await fetch(url + path, { headers })).json());
}
const put = async (body) =>
  (await fetch(url + "/up", { method: "PUT", headers, body, duplex: "half" })).text();
console.log(JSON.stringify([rows, await put(body), await put(stream())]));
