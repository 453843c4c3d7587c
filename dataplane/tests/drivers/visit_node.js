// The visit of README.md with node-postgres: simple and parameterised queries, named statements, COPY streams.
const fs = require('fs');
const { Client } = require('pg');
const copy = require('pg-copy-streams');

const QUERY = 'SELECT id, name, ssn, email FROM patients ORDER BY id LIMIT ';
const show = (name, what) => console.log(JSON.stringify({ case: name, ...what }));
const rows = async (client, query) => (await client.query(typeof query === 'string' ? { text: query, rowMode: 'array' } : { ...query, rowMode: 'array' })).rows;
const sqlstate = async (client, text) => client.query(text).then(() => null, (error) => error.code);

async function visit() {
  const client = new Client({ ssl: { ca: fs.readFileSync(process.env.PGSSLROOTCERT), rejectUnauthorized: true } });
  await client.connect();
  show('simple', { rows: await rows(client, QUERY + '3') });
  show('parameter', { rows: await rows(client, { text: QUERY + '$1', values: [3] }) });
  let last;
  for (let i = 0; i < 3; i += 1) last = await rows(client, { name: 'visit', text: QUERY + '$1', values: [3] });
  show('prepared', { rows: last });
  show('binary', { rows: await rows(client, { text: QUERY + '$1', values: [3], binary: true }).then((r) => r.map((row) => row.map((cell) => (Buffer.isBuffer(cell) ? cell.toString() : cell)))) });
  show('star', { rows: await rows(client, 'SELECT * FROM patients WHERE id = 1') });
  const stream = client.query(copy.to('COPY (SELECT id, ssn, email FROM patients ORDER BY id LIMIT 3) TO STDOUT'));
  let copied = '';
  for await (const chunk of stream) copied += chunk;
  show('copy', { rows: copied.trimEnd().split('\n').map((line) => line.split('\t')) });
  show('blocked', { error: await sqlstate(client, 'DROP TABLE patients') });
  show('after', { rows: await rows(client, 'SELECT 1') });
  await client.query('BEGIN');
  const denied = await sqlstate(client, 'DROP TABLE patients');
  const failed = await sqlstate(client, 'SELECT 1');
  await client.query('ROLLBACK');
  show('transaction', { errors: [denied, failed] });
  show('after_transaction', { rows: await rows(client, 'SELECT 1') });
  await client.end();
}

visit().catch((error) => { console.error(error); process.exit(1); });
