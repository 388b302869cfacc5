// openai-node against the server at the URL that is the argument: prints what each use of it gave, as JSON.
import OpenAI from "openai";

const baseURL = `${process.argv[2]}/v1`;
const client = new OpenAI({ baseURL, apiKey: "secret", maxRetries: 0 });
const chat = (text, more = {}) => ({ model: "fake", messages: [{ role: "user", content: text }], ...more });
const create = (text, more, options) => client.chat.completions.create(chat(text, more), options);

const kindOf = async (work) => {
  try {
    await work();
    return null;
  } catch (error) {
    return { kind: error.constructor.name, status: error.status ?? null, code: error.code ?? null, param: error.param ?? null };
  }
};

const streamed = async (more) => {
  let [text, last] = ["", null];
  for await (const chunk of await create("sum", { stream: true, stream_options: { include_usage: true }, ...more })) {
    text += chunk.choices[0]?.delta?.content ?? "";
    last = chunk;
  }
  return { text, samples: last.usage.tts.samples };
};

const tools = [{ type: "function", function: { name: "weather", parameters: { type: "object", properties: { city: { type: "string" } } } } }];
const withTools = async () => {
  const turns = [{ role: "user", content: "weather" }];
  const first = (await client.chat.completions.create({ model: "fake", messages: turns, tools })).choices[0];
  const [call] = first.message.tool_calls;
  turns.push(first.message, { role: "tool", tool_call_id: call.id, content: "rain" });
  const second = await client.chat.completions.create({ model: "fake", messages: turns, tools });
  return { finish: first.finish_reason, call: call.function, text: second.choices[0].message.content };
};

const aborted = async () => {
  const controller = new AbortController();
  const stream = await create("slow", { stream: true, tts: { strategy: "single" } }, { signal: controller.signal });
  for await (const chunk of stream) {
    if (chunk.choices[0]?.delta?.content) controller.abort();
  }
  return controller.signal.aborted;
};

const spent = async () => {
  const poor = new OpenAI({ baseURL, apiKey: "poor", maxRetries: 0 });
  await poor.chat.completions.create(chat("sum"));
  await poor.chat.completions.create(chat("sum"));
};

const whole = await create("sum", { tts: { strategy: "majority_vote:n=4" } });
console.log(
  JSON.stringify({
    models: (await client.models.list()).data.map((model) => model.id).slice(0, 2),
    whole: { text: whole.choices[0].message.content, samples: whole.usage.tts.samples },
    single: await streamed({ tts: { strategy: "single" } }),
    vote: await streamed({ tts: { strategy: "majority_vote:n=4" } }),
    tools: await withTools(),
    key: await kindOf(() => new OpenAI({ baseURL, apiKey: "wrong", maxRetries: 0 }).models.list()),
    model: await kindOf(() => create("sum", { model: "nobody" })),
    field: await kindOf(() => create("sum", { n: 0 })),
    budget: await kindOf(spent),
    timeout: await kindOf(() => create("slow", {}, { timeout: 500 })),
    aborted: await aborted(),
  }),
);
