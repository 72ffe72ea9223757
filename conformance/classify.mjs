// Tells what the suite itself makes of its results, for each of its tests.
// Runs in the suite's directory. Its input is the JSON that the suite's client printed.
import fs from 'fs'
import { pathToFileURL } from 'url'

const load = path => import(pathToFileURL(`${process.cwd()}/${path}`).href)
const display = await load('lib/display.mjs')
const suites = [...(await load('tests/index.mjs')).default, (await load('tests/surrogate-control.mjs')).default]
const results = JSON.parse(fs.readFileSync(0, 'utf8'))

// the symbols of its report, which lib/display.mjs has no names for
const outcomes = {
  '-': 'untested',
  '✅': 'pass',
  '⛔️': 'fail',
  '⚠️': 'optional_fail',
  'Y': 'yes',
  'N': 'no',
  '🔹': 'setup_fail',
  '⁉️': 'harness_fail',
  '⚪️': 'dependency_fail',
  '↻': 'retry'
}

const tests = suites.flatMap(suite => suite.tests.map(test => ({
  group: suite.id,
  id: test.id,
  kind: test.kind || 'required',
  outcome: outcomes[display.determineTestResult(suites, test.id, results)[2]] || 'unknown',
  detail: Array.isArray(results[test.id]) ? results[test.id].join(': ') : ''
})))
console.log(JSON.stringify(tests))
