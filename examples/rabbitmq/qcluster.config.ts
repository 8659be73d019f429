import { defineConfig } from 'qcluster'

// Every machine has this file, or says the same by QCLUSTER_BROKER_URL, QCLUSTER_STORE_URL and QCLUSTER_SECRET_KEY.
export default defineConfig({
  name: 'pictures',
  broker: 'amqp://localhost',
  store: 'postgres://postgres:qcluster@localhost/postgres',
  // Producers and clusters trust each other by it: take one of your own, from wherever you keep secrets.
  secretKey: 'only for this example',
  workers: 2,
})
