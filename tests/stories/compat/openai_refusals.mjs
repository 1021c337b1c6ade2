// A customer's program: calls that are refused, with the retries that the npm package makes by itself, printed as JSON.
// Arguments: folder with node_modules, base URL, then pairs of key and model; the text is the same for all.
import { createRequire } from "node:module";

const [folder, baseURL, input, ...calls] = process.argv.slice(2);
const OpenAI = createRequire(`${folder}/here.js`)("openai");
const outcomes = [];
for (let place = 0; place < calls.length; place += 2) {
  const client = new OpenAI({ baseURL, apiKey: calls[place], maxRetries: 2 });
  try {
    await client.embeddings.create({ model: calls[place + 1], input });
    outcomes.push("answered");
  } catch (error) {
    outcomes.push(`${error.status} ${error.code}`);
  }
}
console.log(JSON.stringify(outcomes));
