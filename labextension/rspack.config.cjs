// TypeScript is compiled as it is bundled; types are checked by `npm run check`.
module.exports = {
  module: {
    rules: [
      {
        test: /\.ts$/,
        loader: 'builtin:swc-loader',
        options: { jsc: { parser: { syntax: 'typescript' }, target: 'es2022' } },
        type: 'javascript/auto'
      },
      { test: /\.svg$/, issuer: /\.ts$/, type: 'asset/source' }
    ]
  },
  resolve: { extensions: ['.ts', '.js'] }
};
