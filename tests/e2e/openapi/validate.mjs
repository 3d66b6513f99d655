// Reads an OpenAPI document from standard input and ends with status 1 unless both
// validators accept it: one by the JSON Schema that the OpenAPI Initiative
// publishes, one that also follows every reference.
import { validate } from "@readme/openapi-parser";
import { Validator } from "@seriousme/openapi-schema-validator";
import { text } from "node:stream/consumers";

const source = await text(process.stdin);
const bySchema = await new Validator().validate(JSON.parse(source));
const byReferences = await validate(JSON.parse(source)).catch((error) => ({ valid: false, errors: [{ message: error.message }] }));
for (const [name, result] of Object.entries({ bySchema, byReferences })) {
  if (!result.valid) {
    console.error(name, JSON.stringify(result.errors, null, 1));
    process.exitCode = 1;
  }
}
