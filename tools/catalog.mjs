// Reads the catalogue in its three syntaxes with parsers that are not ours, wants the same statements in each, and holds
// them to shapes: node catalog.mjs [directory or base of addresses] [shapes.ttl …]
// A directory holds catalog.ttl, .jsonld and .rdf; an address (http://127.0.0.1:8080/v1) is asked for them.
import { readFile } from 'node:fs/promises'
import jsonld from 'jsonld'
import { Parser } from 'n3'
import { isomorphic } from 'rdf-isomorphic'
import SHACLValidator from 'rdf-validate-shacl'
import factory from 'rdf-validate-shacl/src/defaultEnv.js'
import { RdfXmlParser } from 'rdfxml-streaming-parser'

const here = new URL('.', import.meta.url).pathname
const [from = here + '../pkg/dcat/testdata', ...shapesFiles] = process.argv.slice(2)
if (shapesFiles.length === 0) shapesFiles.push(here + 'catalog-shapes.ttl')

async function text (name) {
  if (!from.startsWith('http')) return readFile(`${from}/${name}`, 'utf8')
  // Pages lead on in their own syntax: their addresses are the one difference.
  const answer = await fetch(`${from}/${name}`, { redirect: 'error' })
  if (answer.status !== 200) throw new Error(`${name}: ${answer.status}`)
  return (await answer.text()).replaceAll(name, 'catalog.page')
}

function turtle (source, format = 'text/turtle') {
  return new Parser({ format }).parse(source)
}

async function jsonLD (source) {
  const documentLoader = url => { throw new Error(`the JSON-LD wants ${url}: its context must be inline`) }
  return turtle(await jsonld.toRDF(JSON.parse(source), { format: 'application/n-quads', safe: true, documentLoader }), 'application/n-quads')
}

function rdfXML (source) {
  return new Promise((resolve, reject) => {
    const quads = []
    const parser = new RdfXmlParser()
    parser.on('data', quad => quads.push(quad)).on('error', reject).on('end', () => resolve(quads))
    parser.write(source)
    parser.end()
  })
}

const graphs = {
  'catalog.ttl': turtle(await text('catalog.ttl')),
  'catalog.jsonld': await jsonLD(await text('catalog.jsonld')),
  'catalog.rdf': await rdfXML(await text('catalog.rdf'))
}
let faults = 0
for (const [name, quads] of Object.entries(graphs)) {
  if (!isomorphic(graphs['catalog.ttl'], quads)) {
    console.error(`${name} does not say the same as catalog.ttl`)
    faults++
  }
}
for (const file of shapesFiles) {
  const shapes = factory.dataset(turtle(await readFile(file, 'utf8')))
  for (const [name, quads] of Object.entries(graphs)) {
    const report = await new SHACLValidator(shapes).validate(factory.dataset(quads))
    for (const r of report.results) {
      console.error(`${name}: ${r.focusNode?.value} ${r.path?.value} ${r.sourceConstraintComponent?.value.split('#')[1]} ${r.value?.value ?? ''} ${r.message.map(m => m.value).join(' ')}`)
      faults++
    }
  }
}
console.log(`catalogue: ${graphs['catalog.ttl'].length} statements, the same in ${Object.keys(graphs).length} syntaxes, ${shapesFiles.length} file(s) of shapes, ${faults} fault(s)`)
process.exit(faults ? 1 : 0)
