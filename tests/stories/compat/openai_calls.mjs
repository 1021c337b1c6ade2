// A customer's program: what the npm package says to the address it is given, printed as JSON.
// Arguments: folder with node_modules, base URL, key, model.
import { createRequire } from "node:module";

const [folder, baseURL, apiKey, model] = process.argv.slice(2);
const OpenAI = createRequire(`${folder}/here.js`)("openai");
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });

const one = await client.embeddings.create({ model, input: "hello" });
const many = await client.embeddings.create({ model, input: ["b", "a"], encoding_format: "float" });
const { request_id: requestId } = await client.embeddings.create({ model, input: "hello" }).withResponse();
const models = [];
for await (const item of client.models.list()) models.push(item.id);
let refused = null;
try {
  await new OpenAI({ baseURL, apiKey: "gr_live_wrong", maxRetries: 0 }).embeddings.create({ model, input: "x" });
} catch (error) {
  refused = { name: error.constructor.name, status: error.status, code: error.code };
}
const { AzureOpenAI } = OpenAI;
const endpoint = new URL(baseURL).origin;
const azure = new AzureOpenAI({ endpoint, apiKey, apiVersion: "2024-10-21", maxRetries: 0 });
const byDeployment = await azure.embeddings.create({ model, input: "hello" });
console.log(
  JSON.stringify({
    one: one.data[0].embedding,
    azure: byDeployment.data[0].embedding,
    usage: one.usage,
    many: many.data.map((item) => item.embedding),
    requestId,
    models,
    model: await client.models.retrieve(model),
    refused,
  }),
);
