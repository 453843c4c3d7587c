// Cancels a statement that runs, or one that is held as soon as its notice says so, then goes on with the same connection.
// node-postgres sends its cancel request without TLS: it knows no other way.
const fs = require('fs');
const { Client } = require('pg');

async function run() {
  const held = process.argv[2] === 'held';
  const client = new Client({ ssl: { ca: fs.readFileSync(process.env.PGSSLROOTCERT), rejectUnauthorized: true } });
  await client.connect();
  let done = false;
  const cancel = () => {
    if (done || !client._getActiveQuery()) return;
    const other = new Client({ ssl: false });
    other.connection.on('error', () => {});
    other.cancel(client, client._getActiveQuery());
  };
  if (held) client.on('notice', cancel);
  const timer = held ? null : setInterval(cancel, 200);
  const code = await client.query(held ? 'DELETE FROM visits' : 'SELECT pg_sleep(600)').then(() => null, (error) => error.code);
  done = true;
  clearInterval(timer);
  console.log(code);
  for (let i = 0; i < 3; i += 1) {
    const rows = await client.query({ text: "SELECT 'alive'", rowMode: 'array' }).then((r) => r.rows, () => null);
    if (rows) { console.log(rows[0][0]); break; }
  }
  await client.end();
}

run().catch((error) => { console.error(error); process.exit(1); });
